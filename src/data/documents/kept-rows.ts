/**
 * The rows of a table of what is declared, in memory and changed with it: there may be as many as there
 * are collections, and to read all of them again for each that changes would cost the square of them.
 */
export type Declared = {
  readonly number: number;
  /** Being filled, there, or being emptied. */
  readonly state: "building" | "whole" | "dropped";
};

export interface KeptRows<Row extends Declared, Key> {
  readonly isEmpty: boolean;
  all(): Iterable<Row>;
  get(number: number): Row | undefined;
  /** In order; not dropped. */
  of(key: Key): readonly Row[];
  has(key: Key): boolean;
  /** One that is to be filled or emptied. */
  unfinished(): Row | undefined;
  /** In the place of the one of its number. */
  put(row: Row): void;
  remove(number: number): void;
}

export function keepRows<Row extends Declared, Key>(
  rows: Iterable<Row>,
  { keyOf, isBefore }: { keyOf(row: Row): Key; isBefore(a: Row, b: Row): boolean },
): KeptRows<Row, Key> {
  const byNumber = new Map<number, Row>();
  const byKey = new Map<Key, Row[]>();
  const unfinished = new Set<number>();

  const forget = (key: Key, number: number) => {
    const left = (byKey.get(key) ?? []).filter((row) => row.number !== number);
    if (left.length > 0) byKey.set(key, left);
    else byKey.delete(key);
  };
  const kept: KeptRows<Row, Key> = {
    get isEmpty() {
      return byNumber.size === 0;
    },
    all: () => byNumber.values(),
    get: (number) => byNumber.get(number),
    of: (key) => byKey.get(key) ?? [],
    has: (key) => byKey.has(key),
    unfinished() {
      const [number] = unfinished;
      return number === undefined ? undefined : byNumber.get(number);
    },
    put(row) {
      const key = keyOf(row);
      const { number, state } = row;
      byNumber.set(number, row);
      if (state === "whole") unfinished.delete(number);
      else unfinished.add(number);
      if (state === "dropped") return forget(key, number);
      const here = byKey.get(key) ?? [];
      const at = here.findIndex((other) => other.number === number);
      const behind = here.findIndex((other) => isBefore(row, other));
      byKey.set(
        key,
        at >= 0 ? here.with(at, row) : here.toSpliced(behind < 0 ? here.length : behind, 0, row),
      );
    },
    remove(number) {
      const row = byNumber.get(number);
      if (row) forget(keyOf(row), number);
      byNumber.delete(number);
      unfinished.delete(number);
    },
  };
  for (const row of rows) kept.put(row);
  return kept;
}
