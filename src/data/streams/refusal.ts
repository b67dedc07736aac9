import type { Complaint } from "./check.ts";
import type { AppendAnswer } from "./store.ts";

/** Bad input as the answer to an append: sending it again does not help. */
export function refuse(
  complaint: Complaint | undefined,
): (AppendAnswer & { state: "refused" }) | undefined {
  return complaint && { state: "refused", ...complaint, retryable: false };
}
