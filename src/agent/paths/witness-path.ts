/**
 * The way of a witness into the cell: an administrator asks any server → a learner among the ledger's
 * members, and a bundle with a leaf of the ledger authority → a person brings it to its machine → the
 * servers call it, and give it its vote when it has caught up. Nothing ever comes from it by itself.
 */
import { witnessName, type WitnessBundle, type WitnessRequest } from "../../api/index.ts";
import type { MountedRoute } from "../../apiserver/index.ts";
import { openLedgerAuthority } from "../../identity/index.ts";
import {
  addLearnerOnceConnected,
  createWitnessBook,
  defaultTimers,
  etcdUrl,
  witnessClientHost,
  witnessLeafIsDue,
  type EtcdCluster,
  type EtcdMember,
  type EtcdWitness,
  type WitnessEntry,
} from "../../ledger/index.ts";
import { every, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Ground } from "../ground.ts";
import { parseListen } from "../host-port.ts";
import { identityFolder } from "../data-folder.ts";
import type { LedgerPath } from "./ledger-path.ts";

export const witnessesPrefix = "/skerry/v1/servers/witnesses";

const lookEveryMs = 2_000;
const warnEveryMs = 86_400_000;

export type WitnessPath = {
  readonly route: MountedRoute;
  /** All that are or were; none without a ledger of several servers. */
  entries(): Promise<readonly WitnessEntry[]>;
};

export async function startWitnessPath(ground: Ground, ledger: LedgerPath): Promise<WitnessPath> {
  const { clock, log, lifecycle, nowMs } = ground;
  const book = ledger.ledger && createWitnessBook(ledger.ledger);

  const tend = async () => {
    const cluster = ledger.record()?.state === "member" ? ledger.cluster() : undefined;
    if (!cluster || !book) return;
    const members = await cluster.members();
    const entries = await book.all();
    ledger.learnWitnesses(witnessesOf(members, entries));
    for (const { id, name, isLearner } of members) {
      if (!isLearner || !entries.some(({ memberId }) => memberId === id)) continue;
      const { state } = await cluster.promote(id);
      if (state === "promoted")
        log.info("a witness has caught up and votes now", { witness: name || id });
    }
  };
  const remind = async () => {
    if (!book || !ledger.record()) return;
    for (const entry of await book.all())
      if (
        ledger.witnesses().some(({ name }) => name === entry.name) &&
        witnessLeafIsDue(entry, nowMs())
      )
        log.warn("the leaf of a witness has to be renewed: skerry server renew-witness", {
          witness: entry.name,
          notAfter: new Date(entry.notAfterMs).toISOString(),
        });
  };
  const later = (error: unknown) => log.debug("witnesses are looked after later", { error });
  await lifecycle.start(
    "witnesses",
    () => [every(clock, lookEveryMs, tend, later), every(clock, warnEveryMs, remind, later)],
    (timers) => {
      for (const timer of timers) timer.cancel();
    },
  );

  const prepare = async (request: WitnessRequest): Promise<WitnessBundle> => {
    const { cluster, record } = severalServers(ledger);
    if (!book) throw noSeveral();
    const known = (await book.all()).find(({ name }) => name === request.name);
    const members = await cluster.members();
    const present = known && members.find(({ id }) => id === known.memberId);
    const address = request.address ?? (present && known);
    if (!address) throw unknownWitness(request.name);
    if (!present && members.some(({ name }) => name === request.name))
      throw refused(
        `${request.name} is a server of the cell`,
        "give the witness a name that no node has",
      );
    if (present && (known.host !== address.host || known.port !== address.port))
      throw refused(
        `${request.name} is a witness at ${known.host}:${known.port} already`,
        `to move it: skerry server remove ${request.name}, and add it again`,
      );
    const peerUrl = etcdUrl(address.host, address.port);
    const member = present ?? (await addLearner({ cluster, clock }, members, peerUrl));
    const authority = openLedgerAuthority(
      { random: ground.random, nowMs },
      identityFolder(ground.dataDir),
    );
    if (!authority) throw noSeveral();
    const leaf = await authority.issueWitness(address.host);
    const { notAfterMs } = leaf;
    const { host, port } = address;
    await book.keep({
      name: request.name,
      host,
      port,
      memberId: member.id,
      issuedMs: nowMs(),
      notAfterMs,
    });
    const statuses = await cluster.status();
    const status = statuses.find((one) => one.state === "answers" && !one.isWitness);
    if (status?.state !== "answers") throw noSeveral();
    log.warn("a bundle of a witness was made", { witness: request.name, host, port });
    return {
      kind: "skerry-witness",
      version: 1,
      name: request.name,
      trustDomain: authority.trustDomain,
      address: { host, port },
      keyPem: leaf.keyPem,
      certPem: leaf.chainPem,
      caPem: authority.anchorPem,
      notAfterMs,
      token: record.token,
      clusterId: status.clusterId,
      etcdVersion: status.version,
      memberId: member.id,
      members: [...members.filter(({ id }) => id !== member.id), member].map((one) => ({
        id: one.id,
        name: one.id === member.id ? request.name : one.name,
        peerUrl: one.peerUrls[0] ?? "",
      })),
      timers: record.timers ?? defaultTimers,
    };
  };

  return {
    entries: async () => (ledger.record() && book ? await book.all() : []),
    route: {
      prefix: witnessesPrefix,
      async handle(request) {
        if (request.method !== "POST")
          throw refused(`${request.method} is not known here`, "POST a name and an address");
        const bundle = await prepare(parseRequest(await request.body()));
        return { status: 201, contentType: "application/json", body: JSON.stringify(bundle) };
      },
    },
  };
}

/** Beside one server a witness would make two members, of which neither may be lost. */
function severalServers(ledger: LedgerPath) {
  const record = ledger.record();
  const cluster = ledger.cluster();
  if (record?.state === "member" && cluster && record.endpoints.length > 1)
    return { record, cluster };
  throw noSeveral();
}

async function addLearner(
  { cluster, clock }: { cluster: EtcdCluster; clock: Clock },
  members: readonly EtcdMember[],
  peerUrl: string,
): Promise<EtcdMember> {
  const voters = members.filter(({ isLearner }) => !isLearner).length;
  if (voters % 2 === 1)
    throw refused(
      `the cell has ${voters} voting members: a witness beside them would survive no loss more`,
      "a witness makes an even number odd: two servers and a witness, or four and a witness",
    );
  const statuses = await cluster.status();
  const silent = statuses.find(({ state }) => state !== "answers");
  if (silent)
    throw refused(
      `${silent.name} does not answer: all servers have to, while a member is added`,
      "look at skerry server list",
    );
  return await addLearnerOnceConnected(clock, cluster, [peerUrl]);
}

/** Those that the cluster has, named as the administrator named them also before their first start. */
export function witnessesOf(
  members: readonly EtcdMember[],
  entries: readonly WitnessEntry[],
): EtcdWitness[] {
  return members.flatMap(({ id, name, peerUrls, clientUrls, isLearner }) => {
    const entry = entries.find(({ memberId }) => memberId === id);
    const told = clientUrls.some((url) => URL.parse(url)?.hostname === witnessClientHost);
    if (!entry && !told) return [];
    return [{ name: entry?.name ?? name, id, peerUrl: peerUrls[0] ?? "", isLearner }];
  });
}

/** Throws `invalid-argument` naming the field. */
export function parseRequest(body: unknown): WitnessRequest {
  const given = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const { name, address } = given;
  if (typeof name !== "string" || !witnessName.test(name))
    throw invalid("name", name, "letters a to z, digits and -, as a node's");
  if (address === undefined) return { name };
  if (typeof address !== "string") throw invalid("address", address, "HOST:PORT");
  const parsed = parseListen(address, 0);
  return { name, address: parsed };
}

const invalid = (field: string, value: unknown, allowed: string) =>
  new SkerryError({
    code: "invalid-argument",
    message: `${field}: ${JSON.stringify(value)} is not allowed`,
    hint: `expected ${allowed}`,
  });
const refused = (message: string, hint: string) =>
  new SkerryError({ code: "invalid-change", message, hint });
const noSeveral = () =>
  refused(
    "the cell has one server: a witness beside it would make the loss of either one stop all changes",
    "make a second server first: skerry server add NODE; then add the witness",
  );
const unknownWitness = (name: string) =>
  refused(
    `the cell has no witness ${name}`,
    "add it with its address: skerry server add-witness NAME --address HOST:PORT",
  );
