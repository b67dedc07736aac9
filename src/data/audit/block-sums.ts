/** Fingerprints of entries, summed up by blocks of positions; a sum does not care in which order they come. */
import { lanes } from "./fingerprint.ts";
import { createKeySet, type KeySet } from "./key-set.ts";
import { blockKey, blockOf } from "./sides.ts";

export interface BlockSums {
  readonly entries: number;
  add(position: { origin: string; sequence: number }, fingerprint: Uint32Array): void;
  toKeySet(): KeySet;
}

export function createBlockSums(): BlockSums {
  const sumsByBlock = new Map<string, Map<number, Uint32Array>>();
  let entries = 0;
  return {
    get entries() {
      return entries;
    },
    add({ origin, sequence }, fingerprint) {
      const blocks = sumsByBlock.get(origin) ?? new Map<number, Uint32Array>();
      sumsByBlock.set(origin, blocks);
      const block = blockOf(sequence);
      const sums = blocks.get(block) ?? new Uint32Array(lanes);
      blocks.set(block, sums);
      for (let lane = 0; lane < lanes; lane++)
        sums[lane] = (sums[lane] ?? 0) + (fingerprint[lane] ?? 0);
      entries++;
    },
    toKeySet() {
      const keys = createKeySet();
      const byBytes = [...sumsByBlock.keys()].sort((a, b) =>
        // As keys sort: with what stands behind a name.
        Buffer.compare(Buffer.from(`${a} `), Buffer.from(`${b} `)),
      );
      for (const origin of byBytes) {
        const blocks = [...(sumsByBlock.get(origin) ?? [])].sort(([a], [b]) => a - b);
        for (const [block, sums] of blocks) keys.add(blockKey(origin, block), sums);
      }
      return keys;
    },
  };
}
