/** Who shall lead next. Apart from the cluster's calls: supervisors ask it on nodes that load no gRPC. */
import type { AnsweringMember, EtcdMemberStatus } from "./types.ts";

/** The voter, other than `id` and no witness, that has applied the most. */
export function successorOf(
  statuses: readonly EtcdMemberStatus[],
  id: string,
): AnsweringMember | undefined {
  return statuses
    .filter((one) => one.state === "answers")
    .filter((one) => one.id !== id && !one.isLearner && !one.isWitness)
    .toSorted((a, b) => b.raftAppliedIndex - a.raftAppliedIndex)[0];
}
