/**
 * Writes are sent again, for a while, where that is safe: what was refused before anything was done
 * always, and what may have happened under a key, or under the id that a write to a collection with
 * `consistency: strong` carries, where it takes effect once.
 */
import { createBackoff } from "../lib/backoff.ts";
import { deadline, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { ambientRandom } from "./ambient.ts";
import { pauseMsAfter } from "./patiently.ts";

/** Well below the two minutes for which a node knows a strong write again. */
const repeatMs = 30_000;
/** How long a node waits for the durability level when it is not told. */
const timeoutMsDefault = 10_000;
/** For the answer itself, beyond that. */
const answerMs = 30_000;
/** What is said of the documents, and holds for all that was sent under one id. */
const verdicts = ["condition-failed", "invalid-document", "document-too-large", "batch-too-large"];
/** The request was turned away before anybody looked at what is in it, or put it anywhere. */
const turnedAway = [
  "rate-limited",
  "store-busy",
  "producer-too-fast",
  "gateway-busy",
  "too-many-connections",
  "stopping",
];

export type Writing = {
  /** The same sent twice takes effect once. */
  readonly isKeyed: boolean;
  /** How long the other side may wait before it answers. */
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
};

/**
 * `send` is told whether what it sends may have happened before. It is sent again for 30 s, each time no
 * sooner than the other side asks for. Throws what `send` throws; once it may have happened, what left
 * that open, until something is known.
 */
export async function untilKnown<T>(
  clock: Clock,
  send: (isRepeated: boolean, signal: AbortSignal) => Promise<T>,
  { isKeyed, timeoutMs = timeoutMsDefault, signal }: Writing,
): Promise<T> {
  const backoff = createBackoff({ random: ambientRandom }, { initialMs: 100, maxMs: 2000 });
  const untilMs = clock.monotonicMs() + repeatMs;
  const limitMs = timeoutMs + answerMs;
  let unknown: SkerryError | undefined;
  for (;;) {
    let pauseMs: number;
    const limit = deadline(clock, limitMs, {
      ...(signal ? { parent: signal } : {}),
      reason: () => noAnswer(limitMs),
    });
    try {
      return await send(unknown !== undefined, limit.signal);
    } catch (error) {
      if (!(error instanceof SkerryError)) throw unknown ?? error;
      const { code, retryable } = error;
      if (retryable && (isKeyed || code === "outcome-unknown") && !turnedAway.includes(code))
        unknown = error;
      // That this sending changed nothing says nothing of the one before.
      else if (verdicts.includes(code)) throw error;
      else if (!retryable || !(unknown || turnedAway.includes(code))) throw unknown ?? error;
      pauseMs = pauseMsAfter(error, backoff);
      if (clock.monotonicMs() + pauseMs > untilMs) throw unknown ?? error;
    } finally {
      limit.done();
    }
    await clock.sleep(pauseMs, signal ? { signal } : {}).catch((aborted) => {
      // What is known is told rather than that.
      throw unknown ?? aborted;
    });
  }
}

const noAnswer = (limitMs: number) =>
  new SkerryError({
    code: "not-answering",
    message: `no answer within ${limitMs / 1000} s`,
    hint: "the outcome of this call is unknown; with a key it is safe to repeat",
    retryable: true,
  });
