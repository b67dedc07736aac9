/** Letters as they are written down, and their two thread halves. Plain data. */
import type { Thread } from "../../runtime/thread/index.ts";

export type SavedLetter = {
  readonly id: number;
  /** All of it but the payload. */
  readonly json: string;
  /** Of one that is still whole. */
  readonly payload?: Uint8Array;
};

/** `gone` before `put`. */
export type LetterBatch = {
  readonly put: readonly SavedLetter[];
  readonly gone: readonly number[];
};

export interface DeadLetterStore {
  /** Oldest first. */
  load(): Promise<readonly SavedLetter[]>;
  /** All of it or nothing; outlives the process, and what the power takes away is told nobody. */
  apply(batch: LetterBatch): Promise<void>;
}

/** `type`, not `interface`: it is part of a thread's methods. */
export type DeadLetterMethods = {
  "dead.load": (argument: undefined) => Promise<readonly SavedLetter[]>;
  "dead.apply": (batch: LetterBatch) => Promise<void>;
};

/** For `serveThread`, in the thread that opened the store. */
export function serveDeadLetterStore(store: DeadLetterStore): DeadLetterMethods {
  return {
    "dead.load": () => store.load(),
    "dead.apply": (batch) => store.apply(batch),
  };
}

/** The calling side. */
export function connectDeadLetterStore(
  thread: Pick<Thread<DeadLetterMethods>, "call">,
): DeadLetterStore {
  return {
    load: () => thread.call("dead.load", undefined),
    apply: (batch) => thread.call("dead.apply", batch),
  };
}
