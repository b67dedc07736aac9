/**
 * Which of 4096 consecutive producer sequences were stored, as runs: `[first, last, first, last, …]`,
 * ascending, never touching. A producer in order costs one run a block, a random one two numbers a
 * sequence; a block is bounded by its size whatever comes.
 */
export const blockSize = 4096;

/** A block that nothing was stored of yet has no runs. */
export type SeenBlock = { readonly block: number; ranges: number[]; changed: boolean };

export const blockOf = (sequence: number): number => Math.floor(sequence / blockSize);

/** False when it was there. */
export function addSequence(seen: SeenBlock, sequence: number): boolean {
  const { ranges } = seen;
  const offset = sequence - seen.block * blockSize;
  const last = ranges.length - 1;
  if (last >= 1 && ranges[last] === offset - 1) {
    ranges[last] = offset;
    seen.changed = true;
    return true;
  }
  const at = firstEndingFrom(ranges, offset);
  if (at < ranges.length && (ranges[at] as number) <= offset) return false;
  seen.changed = true;
  const joinsBefore = at > 0 && ranges[at - 1] === offset - 1;
  const joinsAfter = at < ranges.length && ranges[at] === offset + 1;
  if (joinsBefore && joinsAfter) ranges.splice(at - 1, 2);
  else if (joinsBefore) ranges[at - 1] = offset;
  else if (joinsAfter) ranges[at] = offset;
  else ranges.splice(at, 0, offset, offset);
  return true;
}

/** Where the first run begins whose last is `offset` or greater; the length when there is none. */
function firstEndingFrom(ranges: readonly number[], offset: number): number {
  let [low, high] = [0, ranges.length / 2];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle * 2 + 1] as number) < offset) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}
