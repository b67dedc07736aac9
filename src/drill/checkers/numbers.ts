/**
 * What writers wrote by the numbers that they gave their entries, against the numbers that a view holds.
 * Exact, in a bit a number: a loss and a double cannot make up for each other, as they do in a count.
 */
import type { View } from "./view.ts";

/** From the first up to, and without, the second. */
export type NumberRange = readonly [from: number, to: number];

export type NumbersWritten = {
  /** Every number of it was given to one entry. Those of two writers do not overlap. */
  readonly given: NumberRange;
  /** Within it: of these nobody knows whether they were stored. In any order. */
  readonly unknown: readonly NumberRange[];
};

export type NumberCheckConfig = {
  readonly view: View;
  readonly stream: string;
  readonly written: readonly NumbersWritten[];
};

export type NumberFindings = {
  /** Different numbers that were written and are there. */
  readonly found: number;
  /** Acknowledged, and not there. */
  readonly lost: number;
  /** Further entries with the number of another. */
  readonly duplicated: number;
  /** Entries with a number that nobody gave, or with none. */
  readonly strange: number;
  /** A few of each, for the reader. */
  readonly examples: readonly string[];
};

/** Or why the view could not be read. */
export type NumberCheckResult = NumberFindings | { readonly failure: string };

const examplesMax = 5;

export type NumberTally = {
  /** An entry's number, or whatever stood in its place. */
  note(number: unknown): void;
  findings(): NumberFindings;
};

export function createNumberTally(written: readonly NumbersWritten[]): NumberTally {
  const writers = written.map(({ given: [from, to], unknown }) => ({
    ...{ from, to, unknown },
    seen: createBits(to - from),
  }));
  const examples: Record<"lost" | "duplicated" | "strange", string[]> = {
    lost: [],
    duplicated: [],
    strange: [],
  };
  const remark = (finding: keyof typeof examples, number: unknown) => {
    if (examples[finding].length < examplesMax)
      examples[finding].push(`${finding} ${JSON.stringify(number)}`);
  };
  let found = 0;
  let duplicated = 0;
  let strange = 0;
  return {
    note(number) {
      const writer = Number.isInteger(number)
        ? writers.find(({ from, to }) => Number(number) >= from && Number(number) < to)
        : undefined;
      if (writer === undefined) {
        strange++;
        remark("strange", number);
      } else if (writer.seen.set(Number(number) - writer.from)) found++;
      else {
        duplicated++;
        remark("duplicated", number);
      }
    },
    findings() {
      let lost = 0;
      for (const { from, to, unknown, seen } of writers) {
        // Looked up once each, however many there are.
        const excused = createBits(to - from);
        for (const [first, end] of unknown)
          for (let number = first; number < end; number++) excused.set(number - from);
        for (let at = 0; at < to - from; at++) {
          if (seen.has(at) || excused.has(at)) continue;
          lost++;
          remark("lost", from + at);
        }
      }
      return { found, lost, duplicated, strange, examples: Object.values(examples).flat() };
    },
  };
}

function createBits(size: number) {
  const bytes = new Uint8Array(Math.ceil(size / 8));
  const has = (at: number) => ((bytes[at >>> 3] ?? 0) & (1 << (at & 7))) !== 0;
  return {
    has,
    /** False when it was set already. */
    set(at: number): boolean {
      if (has(at)) return false;
      bytes[at >>> 3] = (bytes[at >>> 3] ?? 0) | (1 << (at & 7));
      return true;
    },
  };
}
