import { SkerryError } from "../../lib/errors.ts";
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

/** Failures of a write that are answers: nothing is wrong with the store, only with now. */
const refusals = new Set(["store-busy", "disk-full", "producers-too-many"]);

/** What `work` answers, or why it was refused; throws what is neither. */
export async function refusing<T>(work: () => Promise<T>): Promise<T | Refused> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SkerryError) || !refusals.has(error.code)) throw error;
    const { code, message, hint, retryable } = error;
    return { state: "refused", code, message, hint, retryable };
  }
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
