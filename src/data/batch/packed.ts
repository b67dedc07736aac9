/**
 * Entries in the shape that crosses threads: one list of names, one array of numbers, all bodies in
 * one buffer, both buffers transferred and not copied. Both ends are the same process: nothing here
 * is checked, see `codec.ts` for what comes from outside.
 */
import type { EntryInput, StoredEntry } from "../../api/index.ts";

export type PackedEntries = {
  readonly names: readonly string[];
  /** `width` numbers an entry, in the order of `pack`. */
  readonly numbers: Float64Array<ArrayBuffer>;
  readonly bodies: Uint8Array<ArrayBuffer>;
};

type Packable = EntryInput & {
  readonly position?: StoredEntry["position"];
  /** The number in the entry's cursor. */
  readonly id?: number;
};

const width = 9;

export function pack(entries: readonly Packable[]): PackedEntries {
  const names: string[] = [];
  const indexByName = new Map<string, number>();
  const indexOf = (name: string) => {
    let index = indexByName.get(name);
    if (index === undefined) {
      index = names.push(name) - 1;
      indexByName.set(name, index);
    }
    return index;
  };
  const numbers = new Float64Array(entries.length * width);
  const bodies = new Uint8Array(entries.reduce((sum, { body }) => sum + body.length, 0));
  let end = 0;
  let at = 0;
  for (const { stream, key, atMs, body, position, id } of entries) {
    bodies.set(body, end);
    end += body.length;
    numbers[at++] = indexOf(stream);
    numbers[at++] = key ? indexOf(key.producer) : -1;
    numbers[at++] = key?.epoch ?? 0;
    numbers[at++] = key?.sequence ?? 0;
    numbers[at++] = atMs ?? NaN;
    numbers[at++] = position ? indexOf(position.origin) : -1;
    numbers[at++] = position?.sequence ?? 0;
    numbers[at++] = id ?? 0;
    numbers[at++] = end;
  }
  return { names, numbers, bodies };
}

export function unpack({ names, numbers, bodies }: PackedEntries): Packable[] {
  const entries: Packable[] = [];
  const nameAt = (index: number | undefined) => names[index ?? -1] ?? "";
  const numberAt = (index: number) => numbers[index] ?? 0;
  let start = 0;
  for (let at = 0; at < numbers.length; at += width) {
    const end = numberAt(at + 8);
    const producer = numberAt(at + 1);
    const origin = numberAt(at + 5);
    const atMs = numberAt(at + 4);
    entries.push({
      stream: nameAt(numbers[at]),
      ...(Number.isNaN(atMs) ? {} : { atMs }),
      ...(producer < 0
        ? {}
        : {
            key: {
              producer: nameAt(producer),
              epoch: numberAt(at + 2),
              sequence: numberAt(at + 3),
            },
          }),
      body: bodies.subarray(start, end),
      ...(origin < 0 ? {} : { position: { origin: nameAt(origin), sequence: numberAt(at + 6) } }),
      id: numberAt(at + 7),
    });
    start = end;
  }
  return entries;
}
