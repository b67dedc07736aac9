/** One transaction as one of etcd's, and what becomes of it where a member is full. */
import type { Revision, TransactionOutcome } from "../ledger.ts";
import { asError, type Work } from "./attempts.ts";
import { contractError, type Core } from "./core.ts";
import { deleteWhenFull, isFull, markedAt } from "./full.ts";
import { answerOf, requestFor, type Mark, type Prepared } from "./prepare.ts";

/** Time for looking whether it was applied, even where the caller's is over. */
const checkMs = 500;

export function aloneWork(core: Core, prepared: Prepared): Work<TransactionOutcome> {
  /** A member said that it is full. */
  const whenFull = async (
    mark: Mark,
    options: {
      timeoutMs: number;
      signal: AbortSignal | undefined;
      doubt: Error | undefined;
      reason: unknown;
    },
  ): Promise<TransactionOutcome> => {
    const { doubt, reason, signal, timeoutMs } = options;
    try {
      const at = await markedAt(core, mark, timeoutMs);
      if (at !== undefined)
        return { state: "done", revision: (at + core.history().base) as Revision };
    } catch (error) {
      return unknown(doubt ?? asError(error));
    }
    if (doubt) return unknown(doubt);
    if (prepared.kind !== "deletes") throw reason;
    try {
      return await deleteWhenFull(core, prepared, { timeoutMs, signal });
    } catch (error) {
      if (signal?.aborted) return unknown(asError(signal.reason));
      throw contractError(error);
    }
  };

  return {
    lease: prepared.leases[0],
    unknown,
    request: (history, mark) => requestFor(prepared, history, mark),
    answer(history, response, { mark }) {
      const answer = answerOf(prepared, history, response, mark);
      switch (answer.state) {
        case "done": {
          const revision = (answer.revision + history.base) as Revision;
          return {
            state: "settled",
            result: { state: "done", revision },
            slotRevision: answer.marked ? answer.revision : undefined,
          };
        }
        case "refused": {
          const revision = (answer.revision + history.base) as Revision;
          return {
            state: "settled",
            result: { state: "refused", revision, current: answer.current },
            slotRevision: answer.fenced ? answer.revision : undefined,
          };
        }
        default:
          return answer;
      }
    },
    async refused({ failure, reason, doubt }, { mark, untilMs, signal }) {
      if (mark && isFull(failure)) {
        const timeoutMs = Math.max(checkMs, untilMs - core.deps.clock.monotonicMs());
        return await whenFull(mark, { timeoutMs, signal, doubt, reason });
      }
      if (doubt) return unknown(doubt);
      throw reason;
    },
  };
}

const unknown = (cause: Error): TransactionOutcome => ({ state: "unknown", cause });
