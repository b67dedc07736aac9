/**
 * What was refused and why, for a person to look at and, once its reason is gone, to take after all:
 * the latest refusals in memory, bounded by number and bytes, and counters that never forget. Not a
 * place of safety: nothing recorded here was acknowledged to its sender, and a restart forgets it.
 */
import type { AppendOutcome } from "../api/index.ts";
import type { Clock } from "../lib/clock.ts";

export type DeadLetter = {
  /** Counted from the start of the agent. */
  readonly id: number;
  readonly atMs: number;
  readonly source: "mqtt" | "http" | "host";
  /** A SkerryError code. */
  readonly code: string;
  readonly message: string;
  readonly sender?: string;
  readonly topic?: string;
  readonly stream?: string;
  readonly bytes: number;
  /** Whether it is still whole, and could be taken as it is. */
  readonly retryable: boolean;
  /** The beginning of what was sent, as text; undecodable bytes show as U+FFFD. */
  readonly excerpt: string;
};

/** As `stored` where a store had it already: it has a key. */
export type Retried =
  | { readonly state: "stored" }
  | { readonly state: "refused"; readonly code: string; readonly message: string };

export const retriedOf = (outcome: AppendOutcome): Retried =>
  outcome.state === "refused"
    ? { state: "refused", code: outcome.code, message: outcome.message }
    : { state: "stored" };

export type Refusal = Omit<DeadLetter, "id" | "atMs" | "bytes" | "retryable" | "excerpt"> & {
  readonly payload: Uint8Array;
  /** Does what its sender asked for again, under the sender's own authority; records nothing. */
  readonly retry?: () => Promise<Retried>;
};

export type RetryAnswer = {
  readonly stored: number;
  /** Refused again: they stay, with the reason of now. */
  readonly refused: number;
  /** Not whole any more, or of a content that no store takes. */
  readonly skipped: number;
};

export interface DeadLetters {
  record(refusal: Refusal): void;
  /** The latest first. */
  list(): readonly DeadLetter[];
  /** Oldest first, of those that `matches`; what is stored then is no dead letter any more. */
  retry(matches: (letter: DeadLetter) => boolean): Promise<RetryAnswer>;
  /** Refusals since the start, by code. */
  readonly countByCode: ReadonlyMap<string, number>;
}

const excerptBytesMax = 1024;
/** What a retry would need of one, and of all of them; beyond it the oldest keep their excerpt only. */
const keptBytesMax = 256 * 1024;
const keptBytesTotalMax = 4 * 1024 * 1024;

type Kept = DeadLetter & { readonly retry?: Refusal["retry"] };

export function createDeadLetters(
  deps: { clock: Clock },
  options: { lettersMax?: number } = {},
): DeadLetters {
  const lettersMax = options.lettersMax ?? 1000;
  /** Oldest first. */
  const letters = new Map<number, Kept>();
  const countByCode = new Map<string, number>();
  let recorded = 0;
  let keptBytes = 0;

  const bytesOf = ({ retryable, bytes }: Kept) => (retryable ? bytes : 0);
  const put = (letter: Kept) => {
    const before = letters.get(letter.id);
    keptBytes += bytesOf(letter) - (before ? bytesOf(before) : 0);
    letters.set(letter.id, letter);
  };
  const drop = (letter: Kept) => {
    keptBytes -= bytesOf(letter);
    letters.delete(letter.id);
  };
  const bound = () => {
    for (const letter of letters.values()) {
      if (letters.size <= lettersMax) break;
      drop(letter);
    }
    for (const letter of letters.values()) {
      if (keptBytes <= keptBytesTotalMax) break;
      if (letter.retryable) put({ ...letter, retry: undefined, retryable: false });
    }
  };

  return {
    record({ payload, retry, ...refusal }) {
      countByCode.set(refusal.code, (countByCode.get(refusal.code) ?? 0) + 1);
      const excerpt = new TextDecoder().decode(payload.subarray(0, excerptBytesMax));
      const retryable =
        retry !== undefined && !isOfContent(refusal.code) && payload.length <= keptBytesMax;
      put({
        ...refusal,
        ...(retryable ? { retry } : {}),
        ...{ id: ++recorded, atMs: deps.clock.wallMs(), bytes: payload.length },
        ...{ retryable, excerpt },
      });
      bound();
    },
    list: () => [...letters.values()].map(shown).reverse(),
    async retry(matches) {
      const answer = { stored: 0, refused: 0, skipped: 0 };
      for (const letter of [...letters.values()].filter((each) => matches(shown(each)))) {
        if (!letter.retry) {
          answer.skipped++;
          continue;
        }
        const outcome = await letter.retry();
        answer[outcome.state]++;
        // Others may have pushed it out meanwhile.
        const now = letters.get(letter.id);
        if (now && outcome.state === "stored") drop(now);
        else if (now && outcome.state === "refused")
          put({ ...now, code: outcome.code, message: outcome.message });
      }
      return answer;
    },
    countByCode,
  };
}

const shown = ({ retry: _retry, ...letter }: Kept): DeadLetter => letter;

/** Refused for what it is: the same is refused again. */
const isOfContent = (code: string) => code.startsWith("invalid-") || code.endsWith("-too-large");
