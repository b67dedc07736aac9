/**
 * Whether a cell that lost the majority of its servers may be made whole from this one: every member
 * that can be reached is asked how far it is, and nothing is changed.
 */
import { ledgerServerName, trustDomainOf } from "../identity/index.ts";
import {
  openEtcdCluster,
  readLedgerRecord,
  type EtcdConnectOptions,
  type EtcdEndpoint,
  type EtcdMemberStatus,
  type LedgerRecord,
} from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { probeTcp } from "../runtime/probe/index.ts";
import { readNodeRecord, type NodeRecord } from "./config.ts";
import { readEtcdCredentials } from "./etcd-files.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

export type MemberState = {
  readonly name: string;
  readonly isHere: boolean;
  /** Undefined: it does not answer. */
  readonly seen:
    | { readonly term: number; readonly index: number; readonly revision: number }
    | undefined;
};

export type RecoverPlan = {
  readonly dataDir: string;
  readonly node: NodeRecord;
  readonly record: LedgerRecord;
  readonly members: readonly MemberState[];
  readonly words: readonly string[];
};

type MemberSeen =
  | Exclude<EtcdMemberStatus, { state: "unreachable" }>
  | { readonly name: string; readonly state: "unreachable" };

const surveyMs = 3000;
const connectMs = 1500;

/**
 * Asks every member that can be reached how far it is; changes nothing. Throws `recover-refused` when
 * this is no member, a majority answers, or another member is further on.
 */
export async function planRecover(deps: Deps, dataDir: string): Promise<RecoverPlan> {
  const node = readNodeRecord(dataDir);
  const record = readLedgerRecord(dataDir);
  if (!node || record?.state !== "member") {
    throw refused(
      `${dataDir} holds no member of a ledger with several servers`,
      "a cell whose only server is lost comes back from a backup: skerry restore --help",
    );
  }
  const statuses = await survey(deps, dataDir, node, record);
  const members = statuses.map((status): MemberState => ({
    name: status.name,
    isHere: status.name === record.member,
    seen:
      status.state === "answers"
        ? { term: status.raftTerm, index: status.raftIndex, revision: status.etcdRevision }
        : undefined,
  }));
  const led = statuses.filter(
    (status) => status.state === "answers" && status.leaderId !== undefined,
  );
  if (led.length * 2 > statuses.length)
    throw refused(
      `a majority of the servers answers and has a leader: ${led.map(({ name }) => name).join(", ")}`,
      "nothing needs to be recovered; replace what is gone: skerry server --help",
    );
  const here = members.find(({ isHere }) => isHere);
  const newer = members.find((one) => one.seen && here?.seen && isFurther(one.seen, here.seen));
  if (newer)
    throw refused(
      `${newer.name} is further on than this server (${placeOf(newer)}, here ${here ? placeOf(here) : "unknown"})`,
      `recover there, and nothing that it knows is lost: skerry recover on ${newer.name}`,
    );
  return { dataDir, node, record, members, words: wordsOf(members) };
}

const refused = (message: string, hint: string) =>
  new SkerryError({ code: "recover-refused", message, hint });

const isFurther = (
  one: NonNullable<MemberState["seen"]>,
  other: NonNullable<MemberState["seen"]>,
) => one.term > other.term || (one.term === other.term && one.index > other.index);

const placeOf = ({ seen }: MemberState) =>
  seen
    ? `term ${seen.term}, index ${seen.index}, revision ${seen.revision} of etcd`
    : "does not answer";

function wordsOf(members: readonly MemberState[]): string[] {
  const silent = members.filter(({ seen, isHere }) => !seen && !isHere).map(({ name }) => name);
  return [
    ...members.map((one) => `${one.name}${one.isHere ? " (here)" : ""}: ${placeOf(one)}`),
    silent.length === 0
      ? "every member answered, and none is further on than this one: nothing is lost"
      : `not heard: ${silent.join(", ")}. Lost is at most what they acknowledged among themselves while this server did not hear them`,
    ...(members.some(({ isHere, seen }) => isHere && !seen)
      ? [
          "this server's etcd does not run: if it was killed, its very last write may be missing too (etcd keeps of its log what it knew to be agreed)",
        ]
      : []),
    "etcd counts revisions anew from where the cell came to it: the cell's own, which are told when it is done, are higher",
    "this server becomes the only one, from what it has; the others join again (skerry server add) and are refused as what they were",
    "what runs goes on; pods stop only if their declaration is among what is lost",
  ];
}

async function survey(
  deps: Deps,
  dataDir: string,
  node: NodeRecord,
  record: LedgerRecord,
): Promise<readonly MemberSeen[]> {
  const own = { name: record.member, host: node.host, port: record.clientPort };
  const others = record.endpoints.filter(({ name }) => name !== record.member);
  const members = [own, ...others];
  // A call to a machine that is gone would keep this process for as long as the kernel goes on trying.
  const found = await Promise.all(
    members.map(async (one) => (await probeTcp(one, { timeoutMs: connectMs })).ok),
  );
  using cluster = await openEtcdCluster(
    { ...deps, log: silentLog },
    connecting(
      dataDir,
      node,
      members.filter((_, index) => found[index]),
    ),
  );
  const statuses = await cluster.status({ timeoutMs: surveyMs });
  return members.map(
    ({ name }) => statuses.find((one) => one.name === name) ?? { name, state: "unreachable" },
  );
}

/** To etcd with the keys of this node's own member. */
export const connecting = (
  dataDir: string,
  node: NodeRecord,
  members: readonly EtcdEndpoint[],
): EtcdConnectOptions => ({
  members: () => members,
  credentials: () => readEtcdCredentials(dataDir),
  serverName: ledgerServerName(trustDomainOf(node.cell)),
});
