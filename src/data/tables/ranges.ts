/**
 * Sets of positive integers as sorted, disjoint, inclusive ranges. Bounded: past `rangesMax` the
 * closest neighbours are joined, so a set may then hold numbers that were never added.
 */
export type Range = readonly [from: number, to: number];

export function includesNumber(ranges: readonly Range[], value: number): boolean {
  return ranges.some(([from, to]) => from <= value && value <= to);
}

/** `ranges` with others added (any order). */
export function addRanges(
  ranges: readonly Range[],
  added: readonly Range[],
  rangesMax: number,
): Range[] {
  const sorted = [...ranges, ...added].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [from, to] of sorted) {
    const last = merged.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  while (merged.length > rangesMax) joinClosest(merged);
  return merged;
}

function joinClosest(ranges: [number, number][]): void {
  let best = 1;
  let gap = Infinity;
  for (let i = 1; i < ranges.length; i++) {
    const width = (ranges[i]?.[0] ?? 0) - (ranges[i - 1]?.[1] ?? 0);
    if (width < gap) [best, gap] = [i, width];
  }
  const [right] = ranges.splice(best, 1);
  const left = ranges[best - 1];
  if (left && right) left[1] = right[1];
}
