/**
 * The way of a machine into its cell: the first one founds the cell (a new authority), others spend a
 * token at a server. Afterwards certificates renew by themselves.
 */
import type { NodeEndpoints } from "../../api/index.ts";
import {
  createAppTokenVerifier,
  createAuthority,
  createJoinToken,
  createNodeEnrolment,
  openAuthority,
  openCellTime,
  openNodeIdentity,
  parseJoinToken,
  prepareJoin,
  startRenewal,
  trustDomainOf,
  type FolderAuthority,
  type CellTime,
  type NodeIdentity,
  type Renewal,
  type TokenRecord,
  type TokenStore,
} from "../../identity/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { steadyClock } from "../../runtime/clock/index.ts";
import { enrol, type EnrolHandler } from "../../transport/index.ts";
import type { AgentConfig, NodeRecord } from "../config.ts";
import type { Ground } from "../ground.ts";
import { addressOf } from "../host-port.ts";
import { identityFolder } from "../data-folder.ts";

export type IdentityPath = {
  readonly identity: NodeIdentity;
  readonly time: CellTime;
  /** Servers only. */
  readonly authority: FolderAuthority | undefined;
  /** After a join: the API of the server that let this node in. */
  readonly serverApi: string | undefined;
  /** Whom an application's token names, while it is valid. */
  authenticateToken(token: string): Promise<{ id: string } | undefined>;
};

type Deps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

/** Throws what joining throws (`token-used`, `enrol-wrong-authority`, `peer-unreachable`, …). */
export async function openIdentity(
  deps: Deps,
  config: AgentConfig,
  record: NodeRecord,
): Promise<IdentityPath> {
  const { clock, random, log } = deps;
  const folder = identityFolder(config.dataDir);
  const time = openCellTime({ clock, log, steady: steadyClock() }, { folder });
  const nowMs = () => time.nowMs();
  const authority =
    record.role === "server" ? await openOrFound(deps, nowMs, folder, record) : undefined;
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
  const entered = identity;
  const verifier = createAppTokenVerifier({ nowMs, trust: () => entered.trust });
  return {
    identity: entered,
    time,
    authority,
    serverApi,
    async authenticateToken(token) {
      const verdict = verifier.verify(token);
      return verdict.ok ? { id: verdict.subject.id } : undefined;
    },
  };
}

async function openOrFound(
  { random, log }: Deps,
  nowMs: () => number,
  folder: string,
  record: NodeRecord,
): Promise<FolderAuthority> {
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
  deps: { random: Random; nowMs: () => number; authority: FolderAuthority },
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

/** Renewal at any server, best first; at itself where this node is one. */
export async function startRenewals(
  { clock, random, log, lifecycle, nowMs }: Ground,
  deps: {
    identity: IdentityPath;
    /** Servers only. */
    enrolHandler: EnrolHandler | undefined;
    servers: () => readonly NodeEndpoints[];
  },
): Promise<Renewal> {
  const { enrolHandler, servers } = deps;
  const { identity, time } = deps.identity;
  const exchange = async (request: Uint8Array) => {
    if (enrolHandler) return await enrolHandler(request, { address: "self" });
    let failure: unknown = new SkerryError({
      code: "peer-unreachable",
      message: "no server of the cell is known",
      retryable: true,
    });
    for (const { host, ports } of servers()) {
      for (const pin of identity.pins) {
        try {
          return await enrol(
            { clock, nowMs },
            { host, port: ports.peers, trustDomain: identity.trust.trustDomain, pin, request },
          );
        } catch (error) {
          failure = error;
        }
      }
    }
    throw failure;
  };
  // A server that renews at itself learns nothing about the time.
  const learning = enrolHandler
    ? {}
    : { onServerTime: (theirsMs: number) => time.observe("server", theirsMs) };
  return await lifecycle.start(
    "certificates",
    () => startRenewal({ clock, random, log, nowMs, identity, exchange, ...learning }),
    (part) => part.stop(),
  );
}
