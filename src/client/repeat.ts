/**
 * Writes to collections with `consistency: strong` whose answer was lost: they carry an id, under which
 * they take effect once, so they are sent again until it is known what became of them.
 */
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { ambientRandom } from "./ambient.ts";

/** Well below the two minutes for which a node knows a write again. */
const repeatMs = 30_000;
/** What is said of the documents, and holds for all that was sent under one id. */
const verdicts = ["condition-failed", "invalid-document", "document-too-large", "batch-too-large"];

/**
 * `send` is told whether the same was sent before. Throws what it throws; `outcome-unknown` when that
 * did not change for 30 s, or when sending again is of no use.
 */
export async function untilKnown<T>(
  clock: Clock,
  send: (isRepeated: boolean) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  const backoff = createBackoff({ random: ambientRandom }, { initialMs: 100, maxMs: 2000 });
  const untilMs = clock.monotonicMs() + repeatMs;
  let unknown: SkerryError | undefined;
  for (;;) {
    try {
      return await send(unknown !== undefined);
    } catch (error) {
      if (!(error instanceof SkerryError)) throw unknown ?? error;
      if (isRepeatable(error)) unknown = error;
      // That this sending changed nothing says nothing of the one before.
      else if (!unknown || verdicts.includes(error.code)) throw error;
      else if (!error.retryable) throw unknown;
      if (clock.monotonicMs() >= untilMs) throw unknown;
    }
    try {
      await clock.sleep(backoff.nextMs(), signal ? { signal } : {});
    } catch {
      // Aborted: what is known is told rather than that.
      throw unknown;
    }
  }
}

const isRepeatable = ({ code, retryable }: SkerryError): boolean =>
  code === "outcome-unknown" && retryable;
