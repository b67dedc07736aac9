/** The cell's servers for people, as far as they answer: with or without a quorum. */
import type { ServerLine, ServersView } from "../api/index.ts";
import {
  quorumOf,
  survivalOf,
  type EtcdCluster,
  type EtcdEndpoint,
  type EtcdMember,
} from "../ledger/index.ts";

export async function serverLines(
  cluster: Pick<EtcdCluster, "members" | "status">,
  endpoints: readonly EtcdEndpoint[],
  isNode: (name: string) => boolean,
): Promise<ServersView> {
  const [members, statuses] = await Promise.all([
    // Without a quorum nobody knows for sure who is a member: what was seen last is shown.
    cluster.members().catch((): readonly EtcdMember[] => []),
    cluster.status(),
  ]);
  const names = new Set([
    ...members.map(({ id, name }) => name || id),
    ...(members.length === 0 ? endpoints.map(({ name }) => name) : []),
  ]);
  const servers = [...names].sort().map((name): ServerLine => {
    const member = members.find((one) => one.name === name || one.id === name);
    const status = statuses.find((one) =>
      one.state === "answers" && member ? one.id === member.id : one.name === name,
    );
    const at = endpoints.find((one) => one.name === name);
    const isLearner = member?.isLearner ?? (status?.state === "answers" && status.isLearner);
    const kind = isNode(name) || member?.name === "" ? "server" : "witness";
    const address = at ? { address: `${at.host}:${at.port}` } : {};
    if (status?.state !== "answers")
      return { name, kind, state: isLearner ? "learner" : "unreachable", ...address };
    return {
      name,
      kind,
      state: isLearner ? "learner" : status.leaderId === status.id ? "leader" : "follower",
      ...address,
      version: status.version,
      bytes: status.dbBytes,
    };
  });
  const voters = servers.filter(({ state }) => state !== "learner");
  const answering = voters.filter(({ state }) => state !== "unreachable");
  const isHeld =
    answering.length >= quorumOf(voters.length) && voters.some(({ state }) => state === "leader");
  return {
    engine: "etcd",
    quorum: isHeld ? "held" : "lost",
    words: survivalOf(voters.length),
    servers,
  };
}
