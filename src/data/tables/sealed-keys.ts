/**
 * Which segment holds a producer's key: runs of keys without a gap, so that a million sealed entries
 * of one producer cost a line.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SegmentColumns } from "../batch/segment.ts";

/** Keys of one producer and epoch without a gap. No two runs overlap: a key stands once in a store. */
export type Run = {
  readonly producer: number;
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
};

export interface SealedKeys {
  /** The segment that holds this key. */
  find(producer: number, epoch: number, sequence: number): number | undefined;
  /** Inside a transaction that sealed these keys. */
  added(runs: readonly Run[]): void;
  /** Reads anew what is kept in memory. */
  forget(): void;
}

const topsMax = 200_000;

export function createSealedKeys(db: Database): SealedKeys {
  const runBefore = db.prepare(
    `SELECT last, segment FROM run
     WHERE producer = ? AND epoch = ? AND first <= ? ORDER BY first DESC LIMIT 1`,
  );
  /** The highest sealed sequence by producer and epoch: most appends are above it. */
  const tops = new Map<string, number>();

  return {
    find(producer, epoch, sequence) {
      const at = topKey(producer, epoch);
      let top = tops.get(at);
      if (top === undefined) {
        top = Number(runBefore.get(producer, epoch, Number.MAX_SAFE_INTEGER)?.["last"] ?? 0);
        if (tops.size >= topsMax) tops.clear();
        tops.set(at, top);
      }
      if (sequence > top) return undefined;
      const run = runBefore.get(producer, epoch, sequence);
      return run && Number(run["last"]) >= sequence ? Number(run["segment"]) : undefined;
    },
    added(runs) {
      for (const { producer, epoch, last } of runs) {
        const top = tops.get(topKey(producer, epoch));
        if (top !== undefined && top < last) tops.set(topKey(producer, epoch), last);
      }
    },
    forget: () => tops.clear(),
  };
}

const topKey = (producer: number, epoch: number) => `${producer}/${epoch}`;

/** The keys of these rows. */
export function runsOf(rows: KeyColumns): Run[] {
  const runs: Run[] = [];
  for (const { producer, epoch, sequences, ascends } of keysByProducer(rows)) {
    let [first, last] = [0, -1];
    for (const sequence of ascends ? sequences : sequences.toSorted((a, b) => a - b)) {
      if (sequence === last + 1) last = sequence;
      else {
        if (last > 0) runs.push({ producer, epoch, first, last });
        [first, last] = [sequence, sequence];
      }
    }
    runs.push({ producer, epoch, first, last });
  }
  return runs;
}

export type KeyColumns = Pick<SegmentColumns, "producers" | "epochs" | "keySequences">;

export type Keys = {
  readonly producer: number;
  readonly epoch: number;
  readonly sequences: number[];
  /** Each is above the one before it. */
  ascends: boolean;
};

/** By producer and epoch, in the order of the rows. Numbers, and no text made for each row: a hub does this for all that it takes. */
export function* keysByProducer({ producers, epochs, keySequences }: KeyColumns): Generator<Keys> {
  const byProducer = new Map<number, Map<number, Keys>>();
  for (let index = 0; index < producers.length; index++) {
    const producer = producers[index] as number;
    if (producer < 0) continue;
    const [epoch, sequence] = [epochs[index] as number, keySequences[index] as number];
    let byEpoch = byProducer.get(producer);
    if (!byEpoch) byProducer.set(producer, (byEpoch = new Map()));
    const keys = byEpoch.get(epoch);
    if (!keys) byEpoch.set(epoch, { producer, epoch, sequences: [sequence], ascends: true });
    else {
      if (sequence <= (keys.sequences.at(-1) as number)) keys.ascends = false;
      keys.sequences.push(sequence);
    }
  }
  for (const byEpoch of byProducer.values()) yield* byEpoch.values();
}
