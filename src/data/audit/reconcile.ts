/**
 * Range-based set reconciliation (Meyer, SRDS 2023): the fingerprints of a range are compared, and where
 * they differ the range is split and its parts are compared, down to ranges of a few keys. It costs
 * messages in the order of the differences times the logarithm of the size. Here one side asks and the
 * other answers, many ranges in a message. Pure but for the two sides.
 */
import type { KeyRange, Part } from "./sides.ts";

export type RangeSide = {
  prints(ranges: readonly KeyRange[]): Promise<readonly Part[]>;
  split(ranges: readonly KeyRange[], parts: number): Promise<readonly (readonly Part[])[]>;
};

export type Reconciled = {
  /** Small ones, in no order. */
  readonly ranges: readonly KeyRange[];
  /** There are more than were looked for. */
  readonly more: boolean;
};

export type ReconcileOptions = {
  /** Keys on either side at which a range is not split any more. */
  readonly leafKeys: number;
  readonly rangesMax: number;
};

const partsOfRange = 16;
const rangesPerMessage = 64;

export async function reconcile(
  { mine, theirs }: { mine: RangeSide; theirs: RangeSide },
  roots: readonly KeyRange[],
  { leafKeys, rangesMax }: ReconcileOptions,
): Promise<Reconciled> {
  const leaves: KeyRange[] = [];
  let open = await differing(roots, { mine, theirs });
  let more = false;
  while (open.length > 0) {
    const next: KeyRange[] = [];
    const asked = { mine: [] as KeyRange[], theirs: [] as KeyRange[] };
    for (const { ours, other } of open) {
      const range = rangeOf(ours);
      if (Math.max(ours.keys, other.keys) <= leafKeys) leaves.push(range);
      else asked[ours.keys > other.keys ? "mine" : "theirs"].push(range);
    }
    if (leaves.length >= rangesMax) {
      more = leaves.length > rangesMax || asked.mine.length + asked.theirs.length > 0;
      break;
    }
    // By whoever has more, so that each part is smaller.
    for (const [name, side] of [
      ["mine", mine],
      ["theirs", theirs],
    ] as const) {
      for (const ranges of chunks(asked[name])) {
        const split = await side.split(ranges, partsOfRange);
        next.push(...split.flat().map(rangeOf));
      }
    }
    open = await differing(next, { mine, theirs });
  }
  return { ranges: leaves.slice(0, rangesMax), more };
}

async function differing(
  ranges: readonly KeyRange[],
  { mine, theirs }: { mine: RangeSide; theirs: RangeSide },
): Promise<{ ours: Part; other: Part }[]> {
  const found: { ours: Part; other: Part }[] = [];
  for (const some of chunks(ranges)) {
    const [ours, others] = await Promise.all([mine.prints(some), theirs.prints(some)]);
    for (const [index, part] of ours.entries()) {
      const other = others[index];
      if (other && (part.print !== other.print || part.keys !== other.keys))
        found.push({ ours: part, other });
    }
  }
  return found;
}

const rangeOf = ({ from, to }: KeyRange): KeyRange => ({ from, to });

function* chunks(ranges: readonly KeyRange[]): Generator<readonly KeyRange[]> {
  for (let at = 0; at < ranges.length; at += rangesPerMessage)
    yield ranges.slice(at, at + rangesPerMessage);
}
