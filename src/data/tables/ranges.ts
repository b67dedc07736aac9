/**
 * Sets of positive integers as sorted, disjoint, inclusive ranges. Bounded: past `rangesMax` the lowest
 * are dropped, so a set never holds a number that was not added.
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
  return merged.slice(-rangesMax);
}
