/** Vectors say, by origin, up to which position a store has everything. */
import type { Vector } from "../streams/store.ts";

export const covers = (vector: Vector, cover: Vector): boolean =>
  Object.entries(cover).every(([origin, top]) => (vector[origin] ?? 0) >= top);
