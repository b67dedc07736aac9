/** How far a shared ledger is from losing its quorum. Pure. */
import type { LedgerReport } from "../api/index.ts";

type Members = LedgerReport["members"];

export function countVoters({ members }: Pick<LedgerReport, "members">): {
  readonly voters: Members;
  readonly answering: Members;
  readonly majority: number;
  /** How many more may be lost before nothing can be written; below 0 that is so already. */
  readonly faultsLeft: number;
} {
  const voters = members.filter(({ role }) => role !== "learner");
  const answering = voters.filter(({ state }) => state !== "silent");
  const majority = Math.floor(voters.length / 2) + 1;
  return { voters, answering, majority, faultsLeft: answering.length - majority };
}
