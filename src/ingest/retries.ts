/**
 * Dead letters taken after all: one after the other, oldest first, by one request at a time, and for
 * a bounded time. What was not tried by then, or could not be taken now, is left as it was.
 */
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { httpErrorOf } from "../runtime/http-error/index.ts";
import type { Again, AgainBy } from "./again.ts";
import type { Submitted } from "./shared-outcome.ts";

/** As `stored` where a store had it already: it has a key. */
export type Retried =
  | { readonly state: "stored" }
  | { readonly state: "refused"; readonly code: string; readonly message: string }
  /** Not now, or it is not known whether it was stored. */
  | { readonly state: "left" };

/** Does what a sender asked for again, under the sender's own authority; records nothing. */
export type Retry<By extends Again["by"]> = (
  again: AgainBy<By>,
  payload: Uint8Array,
) => Promise<Retried>;

export type RetryAnswer = {
  readonly stored: number;
  /** Refused again: they stay, with the reason of now. */
  readonly refused: number;
  /** Not whole any more, of a content that no store takes, or of a way in that this agent does not have. */
  readonly skipped: number;
  /** Not tried for want of time, or not taken now: they stay as they are, for the next time. */
  readonly left: number;
};

/** None is begun after it; how long one may take is its way in's. */
const beginMs = 10_000;
/** What a retry of one waits for its level. */
export const retryTimeoutMs = 10_000;

type Whole = { readonly again?: Again; readonly payload?: Uint8Array };

export interface Retries {
  by<By extends Again["by"]>(by: By, retry: Retry<By>): void;
  /** Throws `retry-under-way`. */
  run<T extends Whole>(
    letters: readonly T[],
    onTried: (letter: T, outcome: Exclude<Retried, { state: "left" }>) => void,
  ): Promise<RetryAnswer>;
}

export function createRetries({ clock }: { readonly clock: Clock }): Retries {
  const retries: { [By in Again["by"]]?: Retry<By> } = {};
  let isUnderWay = false;

  /** Undefined: nothing here can try it. */
  const tryAgain = ({ again, payload }: Whole): Promise<Retried> | undefined => {
    if (!again || !payload) return undefined;
    switch (again.by) {
      case "http":
        return retries.http?.(again, payload);
      case "mqtt":
        return retries.mqtt?.(again, payload);
      case "host":
        return retries.host?.(again, payload);
    }
  };

  return {
    by(by, retry) {
      Object.assign(retries, { [by]: retry });
    },
    async run(letters, onTried) {
      if (isUnderWay) throw underWay();
      isUnderWay = true;
      try {
        const answer = { stored: 0, refused: 0, skipped: 0, left: 0 };
        const untilMs = clock.monotonicMs() + beginMs;
        for (const letter of letters) {
          const isInTime = clock.monotonicMs() < untilMs;
          const outcome = isInTime ? await tryAgain(letter) : ({ state: "left" } as const);
          answer[outcome?.state ?? "skipped"]++;
          if (outcome && outcome.state !== "left") onTried(letter, outcome);
        }
        return answer;
      } finally {
        isUnderWay = false;
      }
    },
  };
}

/** What an append makes of a letter. */
export async function retriedBy(append: () => Promise<Submitted>): Promise<Retried> {
  try {
    const outcome = await append();
    if (outcome.state === "refused")
      return outcome.isUnknown ? { state: "left" } : retriedOf(outcome);
    return { state: isOnDisk(outcome) ? "stored" : "left" };
  } catch (error) {
    const { status, body } = httpErrorOf(error);
    return status >= 500 ? { state: "left" } : retriedOf(body.error);
  }
}

export const retriedOf = (refusal: {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}): Retried =>
  refusal.retryable
    ? { state: "left" }
    : { state: "refused", code: refusal.code, message: refusal.message };

/** What fell short at `memory` is with the store, which has not said what became of it. */
const isOnDisk = (outcome: Exclude<Submitted, { state: "refused" }>) =>
  outcome.state === "reached" || outcome.reached.level !== "memory";

const underWay = () =>
  new SkerryError({
    code: "retry-under-way",
    message: "dead letters are being retried already",
    hint: `try again in ${(beginMs + retryTimeoutMs) / 1000} s at most`,
    retryable: true,
  });
