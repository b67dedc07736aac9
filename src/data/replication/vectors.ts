/** Vectors say, by origin, up to which position a store has everything. */
import type { Vector } from "../streams/store.ts";

/** Without logs of which it is not known whose entries stand in them. */
export const withoutLogs = (vector: Vector, isLeftOut: (name: string) => boolean): Vector =>
  Object.fromEntries(Object.entries(vector).filter(([name]) => !isLeftOut(name)));

export const covers = (vector: Vector, cover: Vector): boolean =>
  Object.entries(cover).every(([origin, top]) => (vector[origin] ?? 0) >= top);
