/** Sets of ids as blocks `after < id <= to`: sorted, disjoint, and joined where they touch. Pure. */
export type Block = readonly [after: number, to: number];

export function addBlock(blocks: readonly Block[], added: Block): Block[] {
  const joined: [number, number][] = [];
  for (const [after, to] of [...blocks, added].toSorted((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && after <= last[1]) last[1] = Math.max(last[1], to);
    else joined.push([after, to]);
  }
  return joined;
}

/** How much of a block is in the set. */
export function coverage(blocks: readonly Block[], [after, to]: Block): "none" | "part" | "all" {
  const touched = blocks.filter((block) => block[0] < to && block[1] > after);
  if (touched.length === 0) return "none";
  return touched.some((block) => block[0] <= after && block[1] >= to) ? "all" : "part";
}

/** The first ids behind `after` that are not in the set. */
export function firstGap(blocks: readonly Block[], after: number): Block {
  let from = after;
  for (const block of blocks) {
    if (block[0] > from) return [from, block[0]];
    from = Math.max(from, block[1]);
  }
  return [from, Number.MAX_SAFE_INTEGER];
}
