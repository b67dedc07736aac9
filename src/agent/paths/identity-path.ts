/**
 * The way of a machine into its cell: the first one founds the cell (a new authority), others spend a
 * token at a server. Afterwards certificates renew by themselves, and a server keeps the cell's
 * place at the hub.
 */
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  createJoinToken,
  createNodeEnrolment,
  intermediateIsDue,
  openAuthority,
  openCellTime,
  openNodeIdentity,
  parseJoinToken,
  prepareJoin,
  readCertificatesPem,
  spkiPin,
  startRenewal,
  trustDomainOf,
  type Authority,
  type CellTime,
  type NodeIdentity,
  type Renewal,
  type Subject,
  type TokenRecord,
  type TokenStore,
  type Trust,
} from "../../identity/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { steadyClock } from "../../runtime/clock/index.ts";
import { enrol, type EnrolHandler } from "../../transport/index.ts";
import type { AgentConfig, NodeRecord } from "../config.ts";
import { identityFolder } from "../local.ts";

export type IdentityPath = {
  readonly identity: NodeIdentity;
  readonly time: CellTime;
  /** Servers only. */
  readonly authority: Authority | undefined;
  /** Servers only: what joiners and renewing nodes ask. */
  readonly enrolHandler: EnrolHandler | undefined;
  /** After a join: the API of the server that let this node in. */
  readonly serverApi: string | undefined;
  /** Servers only; `server`: the node that joins with it becomes one too. */
  createToken(options: {
    name: string | undefined;
    ttlMs: number;
    server: boolean;
  }): Promise<{ token: string; expiresAt: string }>;
};

type Deps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

/** Where tokens live, and who is told of those who joined: both are the ledger's, which opens later. */
export type IdentityPorts = {
  readonly tokens: () => TokenStore;
  readonly onJoined: (node: Subject, token: Pick<TokenRecord, "server">) => void | Promise<void>;
};

/** Throws what joining throws (`token-used`, `enrol-wrong-authority`, `peer-unreachable`, …). */
export async function openIdentity(
  deps: Deps,
  config: AgentConfig,
  record: NodeRecord,
  ports: IdentityPorts,
): Promise<IdentityPath> {
  const { clock, random, log } = deps;
  const folder = identityFolder(config.dataDir);
  const time = openCellTime({ clock, log, steady: steadyClock() }, { folder });
  const nowMs = () => time.nowMs();
  const authority =
    record.role === "server" ? await openOrFound(deps, nowMs, folder, record) : undefined;
  const enrolHandler =
    authority &&
    createNodeEnrolment({
      authority,
      tokens: lateTokens(ports.tokens),
      nowMs,
      onJoined: ports.onJoined,
      apiAddress: () => `${record.host}:${record.ports.api}`,
    });
  let identity = openNodeIdentity(folder);
  let serverApi: string | undefined;
  if (!identity) {
    if (authority) await joinOwnCell({ random, nowMs, authority }, folder, record);
    else serverApi = await joinByToken({ clock, time }, folder, config, record);
    identity = openNodeIdentity(folder);
  }
  if (!identity)
    throw new SkerryError({ code: "internal", message: "joined, but no identity was kept" });
  log.info("identity", {
    id: identity.subject.id,
    until: new Date(identity.validUntilMs).toISOString(),
  });
  return {
    identity,
    time,
    authority,
    enrolHandler,
    serverApi,
    async createToken({ name, ttlMs, server }) {
      if (!authority)
        throw new SkerryError({
          code: "not-a-server",
          message: "only servers create join tokens",
          hint: "run this on a server machine of the cell",
        });
      const options = {
        cell: record.cell,
        pin: authority.pin,
        lifetimeMs: ttlMs,
        server,
        ...(name === undefined ? {} : { name }),
      };
      const { token, expiresAtMs } = await createJoinToken(
        { random, store: ports.tokens(), nowMs },
        options,
      );
      return { token, expiresAt: new Date(expiresAtMs).toISOString() };
    },
  };
}

async function openOrFound(
  { random, log }: Deps,
  nowMs: () => number,
  folder: string,
  record: NodeRecord,
): Promise<Authority> {
  const existing = openAuthority({ random, nowMs }, folder);
  if (existing) return existing;
  // A machine that was let into a cell founds no second one of the same name by a lost record.
  if (openNodeIdentity(folder)) {
    throw new SkerryError({
      code: "invalid-config",
      message: `join: missing; ${folder} holds the identity of a worker, and there is no record that says so`,
      hint: "start it as it joined: skerry up --node NAME --join TOKEN --server HOST:PORT (the token is not spent)",
    });
  }
  log.info("founding the cell", { cell: record.cell });
  return await createAuthority(
    { random, nowMs },
    { folder, trustDomain: trustDomainOf(record.cell) },
  );
}

/** The first server joins the cell it founded the way all others will. */
async function joinOwnCell(
  deps: { random: Random; nowMs: () => number; authority: Authority },
  folder: string,
  { cell, node, host }: NodeRecord,
): Promise<void> {
  const store = tokenForOnce();
  const { token } = await createJoinToken(
    { random: deps.random, store, nowMs: deps.nowMs },
    { cell, pin: deps.authority.pin, name: node },
  );
  const enrolSelf = createNodeEnrolment({ ...deps, tokens: store });
  const prepared = await prepareJoin({ folder, token, node, addresses: [host] });
  prepared.accept(await enrolSelf(prepared.request));
}

/** For one token that is spent in the same breath: there is no ledger yet to keep it in. */
function tokenForOnce(): TokenStore {
  let kept: TokenRecord | undefined;
  let usedBy: string | undefined;
  return {
    put: async (record) => void (kept = record),
    get: async (id) => (kept?.id === id ? kept : undefined),
    takeOnce: async (_, by) => (usedBy ??= by),
  };
}

const lateTokens = (store: () => TokenStore): TokenStore => ({
  put: (record) => store().put(record),
  get: (id) => store().get(id),
  takeOnce: (id, by) => store().takeOnce(id, by),
});

async function joinByToken(
  deps: { clock: Clock; time: CellTime },
  folder: string,
  config: AgentConfig,
  record: NodeRecord,
): Promise<string | undefined> {
  const { join: token, server } = config;
  if (token === undefined || server === undefined) {
    throw new SkerryError({
      code: "invalid-config",
      message: "join: missing; this node has not joined its cell yet",
      hint: "skerry up --node NAME --join TOKEN --server HOST:PORT",
    });
  }
  const { trustDomain, pin } = parseJoinToken(token);
  const prepared = await prepareJoin({
    folder,
    token,
    node: record.node,
    addresses: [record.host],
  });
  const answer = await enrol(
    { clock: deps.clock, nowMs: () => deps.time.nowMs() },
    { ...addressOf(server), trustDomain, pin, request: prepared.request },
  );
  const accepted = prepared.accept(answer);
  deps.time.raiseTo(accepted.nowMs);
  deps.time.observe("server", accepted.nowMs);
  return accepted.apiAddress;
}

export function addressOf(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

/** Renewal at any server; `servers` are peers ports, best first. Answers the function that stops it. */
export function keepIdentityFresh(
  deps: Deps,
  path: IdentityPath,
  servers: () => readonly { host: string; port: number }[],
): Pick<Renewal, "stop" | "refreshTrust" | "renew"> {
  const { identity, time } = path;
  const nowMs = () => time.nowMs();
  const renewal = startRenewal({
    ...deps,
    nowMs,
    identity,
    // A server that renews at itself learns nothing about the time.
    ...(path.enrolHandler
      ? {}
      : { onServerTime: (theirsMs: number) => time.observe("server", theirsMs) }),
    exchange: async (request) => {
      if (path.enrolHandler) return await path.enrolHandler(request, { address: "self" });
      let failure: unknown = new SkerryError({
        code: "peer-unreachable",
        message: "no server of the cell is known",
        retryable: true,
      });
      for (const server of servers()) {
        for (const pin of identity.pins) {
          try {
            return await enrol(
              { clock: deps.clock, nowMs },
              { ...server, trustDomain: identity.trust.trustDomain, pin, request },
            );
          } catch (error) {
            failure = error;
          }
        }
      }
      throw failure;
    },
  });
  return renewal;
}

/**
 * Servers: enrols the cell at the hub with the token, or renews what the hub signed when it is due.
 * True when something was signed. Throws what the hub says; without a hub the cell loses nothing
 * but the hub.
 */
export async function enrolAtHub(
  deps: Deps,
  path: IdentityPath,
  hub: { address: string; token?: string },
): Promise<boolean> {
  const { authority, time } = path;
  if (!authority || !intermediateIsDue(authority, time.nowMs())) return false;
  const isEnrolled = authority.hub !== undefined;
  const expected = authority.hub
    ? knownHub(authority.hub.trust)
    : hub.token === undefined
      ? undefined
      : parseJoinToken(hub.token);
  if (!expected) {
    throw new SkerryError({
      code: "invalid-config",
      message: "hubToken: missing; this cell is not enrolled at a hub yet",
      hint: "on the hub: skerry token create --cell NAME; here: skerry up --hub HOST:PORT --hub-token TOKEN",
    });
  }
  const request = await cellRequest(
    authority,
    isEnrolled || hub.token === undefined ? {} : { token: hub.token },
  );
  const { trustDomain, pin } = expected;
  const answer = await enrol(
    { clock: deps.clock, nowMs: () => time.nowMs() },
    { ...addressOf(hub.address), trustDomain, pin, request },
  );
  time.raiseTo(acceptCellAnswer(authority, answer).nowMs);
  deps.log.info("enrolled at the hub", { hub: hub.address });
  return true;
}

function knownHub({
  trustDomain,
  anchorsPem,
}: Trust): { trustDomain: string; pin: string } | undefined {
  const [anchor] = anchorsPem.flatMap(readCertificatesPem);
  return (
    anchor && {
      trustDomain,
      pin: spkiPin(anchor.publicKey.export({ type: "spki", format: "der" })),
    }
  );
}
