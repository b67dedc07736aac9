/** The cell's servers for people, as far as they answer: with or without a quorum. */
import type { ServerLine, ServersView } from "../api/index.ts";
import {
  namesInWords,
  quorumOf,
  survivalNow,
  witnessLeafIsDue,
  type EtcdCluster,
  type EtcdEndpoint,
  type EtcdMember,
  type EtcdWitness,
  type WitnessEntry,
} from "../ledger/index.ts";

type WitnessView = {
  /** The members among them. */
  readonly all: readonly EtcdWitness[];
  readonly entries: readonly WitnessEntry[];
  readonly nowMs: number;
};

export async function serverLines(
  cluster: Pick<EtcdCluster, "members" | "status">,
  endpoints: readonly EtcdEndpoint[],
  isNode: (name: string) => boolean,
  witnesses: WitnessView = { all: [], entries: [], nowMs: 0 },
  /** Whether a majority has agreed on something a moment ago, whoever answers just now. */
  isProved: () => boolean = () => false,
): Promise<ServersView> {
  const [members, statuses] = await Promise.all([
    // Without a quorum nobody knows for sure who is a member: what was seen last is shown.
    cluster.members().catch((): readonly EtcdMember[] => []),
    cluster.status(),
  ]);
  const nameOf = (id: string) => witnesses.all.find((one) => one.id === id)?.name ?? id;
  const names = new Set([
    ...members.map(({ id, name }) => name || nameOf(id)),
    ...(members.length === 0 ? [...endpoints, ...witnesses.all].map(({ name }) => name) : []),
  ]);
  const servers = [...names].sort().map((name): ServerLine => {
    const witness = witnesses.all.find((one) => one.name === name);
    const member = members.find(({ id, name: own }) => own === name || nameOf(id) === name);
    const status = statuses.find((one) =>
      one.state === "answers" && member ? one.id === member.id : one.name === name,
    );
    const at = endpoints.find((one) => one.name === name);
    const isLearner = member?.isLearner ?? (status?.state === "answers" && status.isLearner);
    const kind = !witness && (isNode(name) || member?.name === "") ? "server" : "witness";
    const address = {
      ...(at ? { address: `${at.host}:${at.port}` } : {}),
      ...(witness ? { address: new URL(witness.peerUrl).host } : {}),
      ...leafOf(name, witnesses),
    };
    if (status?.state !== "answers")
      return { name, kind, state: isLearner ? "learner" : "unreachable", ...address };
    return {
      name,
      kind,
      state: isLearner ? "learner" : status.leaderId === status.id ? "leader" : "follower",
      ...address,
      version: status.version,
      ...(status.isWitness ? {} : { bytes: status.dbBytes }),
    };
  });
  const voters = servers.filter(({ state }) => state !== "learner");
  const answering = voters.filter(({ state }) => state !== "unreachable");
  const isHeld =
    answering.length >= quorumOf(voters.length) && voters.some(({ state }) => state === "leader");
  const silent = voters.filter(({ state }) => state === "unreachable").map(({ name }) => name);
  if (!isHeld && isProved())
    return { engine: "etcd", quorum: "held", words: notReachedYet(silent), servers };
  return {
    engine: "etcd",
    quorum: isHeld ? "held" : "lost",
    words: survivalNow(
      voters.length,
      silent,
      voters.filter(({ kind }) => kind === "witness").length,
    ),
    servers,
  };
}

/** Members that came back agree with each other before each of them is called again. */
const notReachedYet = (silent: readonly string[]) =>
  `${silent.length === 0 ? "a majority agrees, and who leads is not known here yet" : `a majority agrees, and ${namesInWords(silent)} ${silent.length === 1 ? "is" : "are"} not reached from here yet`}: look again in half a minute`;

function leafOf(name: string, { entries, nowMs }: WitnessView): Pick<ServerLine, "leaf"> {
  const entry = entries.find((one) => one.name === name);
  if (!entry) return {};
  return { leaf: { notAfterMs: entry.notAfterMs, isDue: witnessLeafIsDue(entry, nowMs) } };
}
