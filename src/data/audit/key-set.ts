/**
 * What a scan keeps of a store: keys in their order, and sums of fingerprints up to each, so that the
 * fingerprint of any range is one subtraction. A key costs its bytes and 20 more, outside of the heap.
 */
import { SkerryError } from "../../lib/errors.ts";
import { lanes, printOf } from "./fingerprint.ts";
import type { KeyRange, Part } from "./sides.ts";

export interface KeySet {
  readonly size: number;
  /** Keys must come in the order of their UTF-8 bytes. Throws `audit-too-large`. */
  add(key: string, fingerprint: Uint32Array): void;
  part(range: KeyRange): Part;
  keys(range: KeyRange, limit: number): readonly string[];
  /** At most so many, together all of the range; bounds are keys of this set. */
  split(range: KeyRange, parts: number): readonly Part[];
}

const keysMax = 20_000_000;

export function createKeySet(): KeySet {
  let size = 0;
  let bytes = Buffer.alloc(4096);
  /** Where a key begins; one more than there are keys. */
  let starts = new Uint32Array(256);
  /** Sums of all keys before each; one more than there are keys. */
  let sums = new Uint32Array(256 * lanes);

  const keyAt = (index: number): Buffer => bytes.subarray(starts[index], starts[index + 1]);
  /** Of the first key that is not below. */
  const rank = (key: string | undefined): number => {
    if (key === undefined) return size;
    const wanted = Buffer.from(key);
    let [low, high] = [0, size];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (Buffer.compare(keyAt(middle), wanted) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const partOf = (range: KeyRange, first: number, end: number): Part => {
    const difference = new Uint32Array(lanes);
    for (let lane = 0; lane < lanes; lane++)
      difference[lane] = (sums[end * lanes + lane] ?? 0) - (sums[first * lanes + lane] ?? 0);
    return { ...range, keys: end - first, print: printOf(difference) };
  };

  return {
    get size() {
      return size;
    },
    add(key, fingerprint) {
      const length = Buffer.byteLength(key);
      const start = starts[size] ?? 0;
      if (size >= keysMax || start + length > 0xffff_ffff) {
        throw new SkerryError({
          code: "audit-too-large",
          message: `more than ${keysMax} keys are not compared at a time`,
        });
      }
      if (start + length > bytes.length) {
        const larger = Buffer.alloc(Math.max(2 * bytes.length, start + length));
        bytes.copy(larger);
        bytes = larger;
      }
      if (size + 2 > starts.length) {
        starts = grown(starts);
        sums = grown(sums);
      }
      bytes.write(key, start);
      starts[size + 1] = start + length;
      for (let lane = 0; lane < lanes; lane++)
        sums[(size + 1) * lanes + lane] =
          (sums[size * lanes + lane] ?? 0) + (fingerprint[lane] ?? 0);
      size++;
    },
    keys({ from, to }, limit) {
      const first = rank(from);
      const count = Math.min(limit, rank(to) - first);
      return Array.from({ length: count }, (_, index) => keyAt(first + index).toString());
    },
    part: (range) => partOf(range, rank(range.from), rank(range.to)),
    split({ from, to }, parts) {
      const [first, end] = [rank(from), rank(to)];
      const count = Math.min(parts, Math.max(1, end - first));
      return Array.from({ length: count }, (_, index) => {
        const at = (number: number) => first + Math.floor(((end - first) * number) / count);
        const range = {
          from: index === 0 ? from : keyAt(at(index)).toString(),
          to: index === count - 1 ? to : keyAt(at(index + 1)).toString(),
        };
        return partOf(range, at(index), at(index + 1));
      });
    },
  };
}

function grown(values: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * values.length);
  larger.set(values);
  return larger;
}
