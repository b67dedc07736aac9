/**
 * A state as the text of a row. Values that stand in the body are not written again: a register with
 * one writer is its stamp and its path, and paths with the same stamp share it.
 */
import { stable } from "../../lib/stable.ts";
import type { Json, JsonObject } from "./json.ts";
import { valueAt } from "./json.ts";
import { elementId } from "./list.ts";
import type { Stamp } from "./operation.ts";
import { namesOf } from "./pointer.ts";
import { emptyCell, type Cell, type DocumentState, type RegisterWrite } from "./state.ts";

/** Origins are small numbers in rows. */
export type OriginNumbers = { numberOf(origin: string): number; originOf(number: number): string };

type PackedStamp = readonly [hlc: number, origin: number, sequence: number];
type Packed = {
  readonly e?: readonly PackedStamp[];
  readonly d?: readonly PackedStamp[];
  readonly v?: number;
  readonly r?: readonly (readonly [...PackedStamp, readonly string[]])[];
  readonly x?: readonly (readonly [string, readonly (readonly [...PackedStamp, Json])[]])[];
  readonly c?: readonly (readonly [string, readonly (readonly number[])[]])[];
  readonly m?: readonly (readonly [string, readonly (readonly [Json, readonly number[]])[]])[];
  readonly l?: readonly (readonly [
    string,
    readonly (readonly [number, number, number, ...Json[]])[],
  ])[];
};

export function encodeState(
  state: DocumentState,
  body: JsonObject | undefined,
  { numberOf }: OriginNumbers,
): string {
  const stamp = ({ hlc, origin, sequence }: Stamp): PackedStamp => [
    hlc,
    numberOf(origin),
    sequence,
  ];
  const shared = new Map<string, [...PackedStamp, string[]]>();
  const apart: NonNullable<Packed["x"]>[number][] = [];
  const cells = inOrder(state.cells);
  for (const [path, { registers }] of cells) {
    const [first, second] = registers;
    if (!first) continue;
    if (!second && valueAt(body, namesOf(path)) === first.value) {
      const key = `${first.origin} ${first.sequence}`;
      const group = shared.get(key) ?? [...stamp(first), []];
      group[3].push(path);
      shared.set(key, group);
    } else {
      apart.push([path, registers.map((write) => [...stamp(write), write.value] as const)]);
    }
  }
  const part = <T>(pack: (cell: Cell) => readonly T[]) =>
    cells.flatMap(([path, cell]) => {
      const packed = pack(cell);
      return packed.length > 0 ? [[path, packed] as const] : [];
    });
  const packed: Packed = {
    e: state.edits.map(stamp),
    d: state.deletions.map(stamp),
    v: state.schema,
    r: [...shared.values()],
    x: apart,
    c: part(({ counts }) =>
      inOrder(counts).map(([origin, { times, total, clearedTimes, cleared }]) =>
        clearedTimes > 0
          ? [numberOf(origin), times, total, clearedTimes, cleared]
          : [numberOf(origin), times, total],
      ),
    ),
    m: part(({ members }) =>
      inOrder(members).map(
        ([, { value, sequences }]) =>
          [value, inOrder(sequences).flatMap(([origin, at]) => [numberOf(origin), at])] as const,
      ),
    ),
    l: part(({ list }) =>
      list.map(
        ({ n, origin, sequence, value }) =>
          [n, numberOf(origin), sequence, ...(value === undefined ? [] : [value])] as const,
      ),
    ),
  };
  return JSON.stringify(
    Object.fromEntries(
      Object.entries(packed).filter(([, value]) =>
        Array.isArray(value) ? value.length > 0 : value,
      ),
    ),
  );
}

/** So that equal states have equal texts. */
const inOrder = <T>(map: ReadonlyMap<string, T>): [string, T][] =>
  map.size === 0 ? [] : [...map].sort(([a], [b]) => (a < b ? -1 : 1));

export function decodeState(
  text: string,
  body: JsonObject | undefined,
  { originOf }: OriginNumbers,
): DocumentState {
  const packed = JSON.parse(text) as Packed;
  const stamp = ([hlc, origin, sequence]: readonly [
    number,
    number,
    number,
    ...unknown[],
  ]): Stamp => ({
    hlc,
    origin: originOf(origin),
    sequence,
  });
  const cells = new Map<string, Cell>();
  const cellAt = (path: string): Cell => {
    const cell = cells.get(path) ?? emptyCell();
    cells.set(path, cell);
    return cell;
  };
  for (const group of packed.r ?? []) {
    for (const path of group[3]) {
      const value = valueAt(body, namesOf(path)) as Json;
      cellAt(path).registers = [{ ...stamp(group), value }];
    }
  }
  for (const [path, writes] of packed.x ?? [])
    cellAt(path).registers = writes.map((write): RegisterWrite => ({
      ...stamp(write),
      value: write[3],
    }));
  for (const [path, counts] of packed.c ?? []) {
    for (const [origin = 0, times = 0, total = 0, clearedTimes = 0, cleared = 0] of counts)
      cellAt(path).counts.set(originOf(origin), { times, total, clearedTimes, cleared });
  }
  for (const [path, members] of packed.m ?? []) {
    for (const [value, pairs] of members) {
      const sequences = new Map<string, number>();
      for (let i = 0; i < pairs.length; i += 2)
        sequences.set(originOf(pairs[i] ?? 0), pairs[i + 1] ?? 0);
      cellAt(path).members.set(stable(value), { value, sequences });
    }
  }
  for (const [path, list] of packed.l ?? []) {
    cellAt(path).list = list.map(([n, number, sequence, value]) => {
      const origin = originOf(number);
      return { id: elementId(n, origin), n, origin, sequence, value };
    });
  }
  return {
    edits: (packed.e ?? []).map(stamp),
    deletions: (packed.d ?? []).map(stamp),
    cells,
    schema: packed.v ?? 0,
  };
}
