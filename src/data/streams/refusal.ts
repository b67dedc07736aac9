import type { Complaint } from "./check.ts";
import type { AppendAnswer, Refused } from "./store.ts";

/** Bad input as the answer to an append: sending it again does not help. */
export function refuse(complaint: Complaint | undefined): Refused | undefined {
  return complaint && { state: "refused", ...complaint, retryable: false };
}

export function busy(waiting: string): Refused {
  return {
    state: "refused",
    code: "store-busy",
    message: `${waiting} wait for the disk`,
    hint: "slow down and send again; nothing was written",
    retryable: true,
  };
}

/** Tells `onLate` when an append that nobody waits for comes to nothing. */
export function watchLate(
  answer: Promise<AppendAnswer>,
  onLate: (failure: Refused | Error) => void,
): void {
  answer.then(
    (outcome) => {
      if (outcome.state === "refused") onLate(outcome);
    },
    (error) => onLate(error instanceof Error ? error : new Error(String(error))),
  );
}
