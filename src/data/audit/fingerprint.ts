/**
 * Fingerprints of single items, and of sets of them: four sums of 32 bits of their SHA-256, so that a
 * set's is put together, and a part taken out, without looking at the items again. Two sets that differ
 * by a fault have the same one in 1 of 2^128 cases. Whoever can choose items can make sums collide
 * (Meyer, "Range-Based Set Reconciliation", SRDS 2023, on multiset homomorphic hashes): this finds
 * faults, not forgers, who would hold a node's key.
 */
import { hash } from "node:crypto";

export const lanes = 4;

/** Of one item; to be added to others'. */
export function lanesOf(content: string | Uint8Array): Uint32Array {
  const digest = hash("sha256", content, "buffer");
  const sums = new Uint32Array(lanes);
  for (let lane = 0; lane < lanes; lane++) sums[lane] = digest.readUInt32LE(4 * lane);
  return sums;
}

export const printOf = (sums: Uint32Array): string =>
  [...sums].map((lane) => lane.toString(16).padStart(8, "0")).join("");

/** Of a single item. */
export const printOfItem = (content: string | Uint8Array): string => printOf(lanesOf(content));
