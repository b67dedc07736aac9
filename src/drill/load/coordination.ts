/** What a coordination client is told, and the lines of the history that it writes. */

/** Every so many turns so many keys are created at once: those that wait at the ledger go together. */
export const burst = { everyTurns: 5, keys: 12 };
/** Created in a turn, on average. */
export const keysATurn = (burst.everyTurns - 1 + burst.keys) / burst.everyTurns;

export type CoordinationLoadConfig = {
  /** Nobody else's, ever: values and keys carry it. */
  readonly client: number;
  readonly seed: number;
  readonly gateway: string;
  readonly token: string;
  readonly registers: number;
  readonly locks: number;
  /** Between two operations of one loop, on average. */
  readonly pauseMs: number;
  /** Between two turns of creating keys, see `burst`: a namespace holds 4096. */
  readonly createEveryMs: number;
  readonly timeoutMs: number;
  readonly sessionTtlMs: number;
  /** One `HistoryLine` a line, each written before anything else is done. */
  readonly historyPath: string;
};

export type CoordinationLoadResult = { readonly operations: number };

/** null: the key does not exist. */
export type HistoryValue = string | null;

/** What was asked. Values are written once only, by one client. */
export type Call =
  | { readonly type: "read"; readonly key: string }
  | { readonly type: "write"; readonly key: string; readonly value: string }
  | {
      readonly type: "cas";
      readonly key: string;
      readonly expected: HistoryValue;
      readonly value: string;
    }
  | { readonly type: "create"; readonly key: string; readonly value: string }
  | { readonly type: "acquire"; readonly lock: string }
  | {
      readonly type: "guarded";
      readonly lock: string;
      readonly token: number;
      readonly key: string;
      readonly value: string;
    };

/** `unknown` is what never answers, too; `failed` surely did not happen. */
export type CallOutcome =
  | {
      readonly state: "done";
      readonly revision?: number;
      readonly value?: HistoryValue;
      readonly token?: number;
    }
  | { readonly state: "refused"; readonly found?: HistoryValue }
  | { readonly state: "unknown" }
  | { readonly state: "failed"; readonly code: string };

/** `atMs` counts on one clock for all processes of the host (`hostMonotonicMs`). */
export type HistoryLine =
  | { readonly line: "call"; readonly id: number; readonly atMs: number; readonly call: Call }
  | {
      readonly line: "answer";
      readonly id: number;
      readonly atMs: number;
      readonly outcome: CallOutcome;
    }
  /** The holder of what call `id` acquired can prove it until then. */
  | { readonly line: "proof"; readonly id: number; readonly untilMs: number }
  /** From here on it does not claim it any more. */
  | { readonly line: "let-go"; readonly id: number; readonly atMs: number }
  | { readonly line: "watch"; readonly after: number }
  | {
      readonly line: "seen";
      readonly revision: number;
      readonly events: readonly { readonly key: string; readonly value: HistoryValue }[];
    };
