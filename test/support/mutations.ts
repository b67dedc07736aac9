/** Values and bytes as a damaged disk, or somebody who means it, makes them of real ones; by a seed. */
import type { Random } from "../../src/lib/random.ts";

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | JsonValue[]
  | { [name: string]: JsonValue };

/** What code that reads numbers, names and lists is not ready for. */
const odd: readonly JsonValue[] = [
  ...[null, true, -1, 0, 1, 0.5, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, 1e308, -1e308],
  ...["", "0", "constructor", "\u0000", "\ud800", "/", "x".repeat(5000)],
  ...[[], {}, [[]], [null], { a: {} }],
];

const pick = <T>(random: Random, list: readonly T[]): T => list[random.integer(list.length)] as T;

/** One place of it, anywhere, is something else, gone, or there twice. */
export function mutateJson(value: JsonValue, random: Random): JsonValue {
  const copy = structuredClone(value);
  const places: { of: JsonValue[] | { [name: string]: JsonValue }; at: string }[] = [];
  const walk = (node: JsonValue) => {
    if (typeof node !== "object" || node === null) return;
    for (const at of Object.keys(node)) {
      places.push({ of: node, at });
      walk((node as { [name: string]: JsonValue })[at] ?? null);
    }
  };
  walk(copy);
  if (places.length === 0 || random.integer(30) === 0) return pick(random, odd);
  const { of, at } = pick(random, places);
  const dice = random.integer(4);
  if (Array.isArray(of)) {
    const [one = null] = of.slice(Number(at));
    if (dice === 0) of.splice(Number(at), 1);
    else if (dice === 1) of.splice(Number(at), 0, structuredClone(one));
    else of[Number(at)] = pick(random, odd);
  } else if (dice === 0) delete of[at];
  else if (dice === 1) of[pick(random, ["more", "__proto", at.toUpperCase()])] = of[at] ?? null;
  else of[at] = pick(random, odd);
  return copy;
}

/** Some of them other ones, cut off, or there twice. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.integer(Math.max(1, bytes.length));
  const dice = random.integer(6);
  if (dice === 0) return bytes.slice(0, at);
  if (dice === 1) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at / 2)]);
  // A slice of a Buffer is no copy of it.
  const changed = Uint8Array.from(bytes);
  for (let flips = 1 + random.integer(4); flips > 0; flips--) {
    const place = random.integer(Math.max(1, bytes.length));
    changed[place] = (changed[place] ?? 0) ^ (1 + random.integer(255));
  }
  return changed;
}
