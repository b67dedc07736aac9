/** What every bench shares: contestants measured in turns within one run, compared by medians. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ascending, percentile } from "../../src/lib/percentile.ts";

export type BenchOptions = {
  /** How often each contestant is measured; medians are of these. At least 3. */
  readonly rounds: number;
  /** How long an open loop lasts in all, where the bench has one. */
  readonly forMs?: number;
  /** How many times something is lost, where the bench loses something. */
  readonly trials?: number;
  /** How many entries a large store holds, where the bench has one. */
  readonly entries?: number;
  /** Aborts on Ctrl-C: what was started is stopped, then the bench ends. */
  readonly signal: AbortSignal;
  /** A line on standard error about what is going on. */
  progress(text: string): void;
};

/** Something that the bench needs is not on this machine; the message says how to install it. */
export class CannotRun extends Error {}

export type BenchResult = {
  /** `peer.measure`; above 1 always means that Skerry is better. */
  readonly ratios: Readonly<Record<string, number>>;
  /** Keys end in their unit: `putP50Ms`. */
  readonly figures: Readonly<Record<string, number>>;
  /** What a person reads: one row a contestant or measure, the same columns in each. */
  readonly table: readonly Readonly<Record<string, string | number>>[];
};

/** What a file `bench/NAME.ts` exports. */
export type Bench = {
  /** One line for the list of benches. */
  readonly about: string;
  run(options: BenchOptions): Promise<BenchResult>;
};

/** A folder on disk for one measurement; gone afterwards. */
export async function inFolder<T>(body: (path: string) => T | Promise<T>): Promise<T> {
  const path = mkdtempSync(join(tmpdir(), "skerry-bench-"));
  try {
    return await body(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/**
 * Measures every contestant once a round, each round beginning with another one, so that a machine
 * that gets slower or faster meanwhile favours nobody. Answers the median of each number.
 */
export async function interleave<Name extends string, Measure extends Record<string, number>>(
  options: Pick<BenchOptions, "rounds"> & Partial<Pick<BenchOptions, "progress" | "signal">>,
  contestants: Readonly<Record<Name, () => Measure | Promise<Measure>>>,
): Promise<Record<Name, Measure>> {
  const names = Object.keys(contestants) as Name[];
  const measuredByName = new Map<Name, Measure[]>(names.map((name) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + i) % names.length] as Name;
      options.signal?.throwIfAborted();
      options.progress?.(`round ${round + 1} of ${options.rounds}: ${name}`);
      const measured = await contestants[name]();
      measuredByName.get(name)?.push(measured);
      // What was seen so far is not lost with a run that ends early.
      options.progress?.(`  ${JSON.stringify(measured, (_key, value) => shortened(value))}`);
    }
  }
  return Object.fromEntries(
    [...measuredByName].map(([name, measured]) => [name, medians(measured)]),
  ) as Record<Name, Measure>;
}

const shortened = (value: unknown) => (typeof value === "number" ? rounded(value) : value);

export const median = (values: Iterable<number>): number =>
  percentile(ascending(values), 0.5) ?? Number.NaN;

function medians<Measure extends Record<string, number>>(measured: readonly Measure[]): Measure {
  const keys = Object.keys(measured[0] ?? {});
  return Object.fromEntries(
    keys.map((key) => [key, median(measured.map((one) => one[key] ?? Number.NaN))]),
  ) as Measure;
}

/** Runs `work` from `callers` loops until `count` calls were made; calls a second. */
export async function throughput(
  options: { count: number; callers: number },
  work: (i: number) => unknown,
): Promise<number> {
  let next = 0;
  const caller = async () => {
    while (next < options.count) await work(next++);
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: options.callers }, caller));
  return (options.count / (performance.now() - startedMs)) * 1000;
}

/** The median time of `count` calls after each other, in milliseconds. */
export async function latencyMs(count: number, work: (i: number) => unknown): Promise<number> {
  const tookMs: number[] = [];
  for (let i = 0; i < count; i++) {
    const startedMs = performance.now();
    await work(i);
    tookMs.push(performance.now() - startedMs);
  }
  return median(tookMs);
}

/** Three significant digits: more would claim more than was measured. */
export const rounded = (value: number): number => Number(value.toPrecision(3));
