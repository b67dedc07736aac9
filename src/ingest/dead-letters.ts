/**
 * What was refused and why, for a person to look at: the latest refusals in memory, bounded by
 * number and bytes, and counters that never forget. Not a place of safety: nothing recorded here was
 * acknowledged to its sender.
 */
import type { Clock } from "../lib/clock.ts";

export type DeadLetter = {
  readonly atMs: number;
  readonly source: "mqtt" | "http" | "host";
  /** A SkerryError code. */
  readonly code: string;
  readonly message: string;
  readonly sender?: string;
  readonly topic?: string;
  readonly stream?: string;
  readonly bytes: number;
  /** The beginning of what was sent, as text; undecodable bytes show as U+FFFD. */
  readonly excerpt: string;
};

export interface DeadLetters {
  record(letter: Omit<DeadLetter, "atMs" | "bytes" | "excerpt"> & { payload: Uint8Array }): void;
  /** The latest first. */
  list(): readonly DeadLetter[];
  /** Refusals since the start, by code. */
  readonly countByCode: ReadonlyMap<string, number>;
}

const excerptBytesMax = 1024;

export function createDeadLetters(
  deps: { clock: Clock },
  options: { lettersMax?: number } = {},
): DeadLetters {
  const lettersMax = options.lettersMax ?? 1000;
  const letters: DeadLetter[] = [];
  const countByCode = new Map<string, number>();
  let next = 0;
  return {
    record({ payload, ...letter }) {
      countByCode.set(letter.code, (countByCode.get(letter.code) ?? 0) + 1);
      const excerpt = new TextDecoder().decode(payload.subarray(0, excerptBytesMax));
      letters[next] = { ...letter, atMs: deps.clock.wallMs(), bytes: payload.length, excerpt };
      next = (next + 1) % lettersMax;
    },
    list: () => [...letters.slice(next), ...letters.slice(0, next)].reverse(),
    countByCode,
  };
}
