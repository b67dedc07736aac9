/**
 * A state as the text of a row. Values that stand in the body are not written again: a register with
 * one writer is its stamp and its path, and paths with the same stamp share it.
 */
import type { PackedStamp, PackedState } from "../../api/records/index.ts";
import { stable } from "../../lib/stable.ts";
import type { Json, JsonObject } from "./json.ts";
import { fieldOf, valueAt } from "./json.ts";
import { elementId } from "./list.ts";
import type { Stamp } from "./operation.ts";
import { isPlain, namesOf } from "./pointer.ts";
import {
  countMax,
  emptyCell,
  ownCounts,
  ownMembers,
  type Cell,
  type DocumentState,
  type RegisterWrite,
} from "./state.ts";
import { textOf, textState } from "./text.ts";

/** Origins are small numbers in rows. */
export type OriginNumbers = { numberOf(origin: string): number; originOf(number: number): string };

/** In a row, a register with one writer has its value in the body. */
type Packed = PackedState & {
  readonly r?: readonly (readonly [...PackedStamp, readonly string[]])[];
};

export const encodeState = (
  state: DocumentState,
  body: JsonObject | undefined,
  origins: OriginNumbers,
): string => JSON.stringify(packState(state, body, origins));

/** Without a body all values stand in it. */
export function packState(
  state: DocumentState,
  body: JsonObject | undefined,
  { numberOf }: Pick<OriginNumbers, "numberOf">,
): Packed {
  const stamp = ({ hlc, origin, sequence }: Stamp): PackedStamp => [
    hlc,
    numberOf(origin),
    sequence,
  ];
  const cells = inOrder(state.cells);
  const packed: { -readonly [Part in keyof Packed]: Packed[Part] } = {};
  if (state.edits.length > 0) packed.e = state.edits.map(stamp);
  if (state.deletions.length > 0) packed.d = state.deletions.map(stamp);
  if (state.schema > 0) packed.v = state.schema;
  packRegisters(packed, cells, { body, stamp });
  const part = <T>(pack: (cell: Cell) => readonly T[]) => {
    const found = cells.flatMap(([path, cell]) => {
      const values = pack(cell);
      return values.length > 0 ? [[path, values] as const] : [];
    });
    return found.length > 0 ? found : undefined;
  };
  if (cells.some(([, { counts }]) => counts.size > 0))
    packed.c = part(({ counts }) =>
      inOrder(counts).map(([origin, { times, total, clearedTimes, cleared }]) =>
        clearedTimes > 0
          ? [numberOf(origin), times, total, clearedTimes, cleared]
          : [numberOf(origin), times, total],
      ),
    );
  if (cells.some(([, { members }]) => members.size > 0))
    packed.m = part(({ members }) =>
      inOrder(members).map(
        ([, { value, sequences }]) =>
          [value, inOrder(sequences).flatMap(([origin, at]) => [numberOf(origin), at])] as const,
      ),
    );
  if (cells.some(([, { list }]) => list.length > 0))
    packed.l = part(({ list }) =>
      list.map(
        ({ n, origin, sequence, value }) =>
          [n, numberOf(origin), sequence, ...(value === undefined ? [] : [value])] as const,
      ),
    );
  if (cells.some(([, { text }]) => text))
    packed.t = part(({ text }) => (text ? [textOf(text)] : []));
  return packed;
}

/** Of a document that one write made of plain fields; `paths` in order, as JSON. */
export function packFresh(
  { stamp, schema, paths }: { stamp: Stamp; schema: number; paths: string },
  { numberOf }: OriginNumbers,
): string {
  const packed = `${stamp.hlc},${numberOf(stamp.origin)},${stamp.sequence}`;
  return `{"e":[[${packed}]],${schema > 0 ? `"v":${schema},` : ""}"r":[[${packed},${paths}]]}`;
}

function packRegisters(
  packed: { r?: Packed["r"]; x?: Packed["x"] },
  cells: readonly (readonly [string, Cell])[],
  { body, stamp }: { body: JsonObject | undefined; stamp: (stamp: Stamp) => PackedStamp },
): void {
  const shared: [...PackedStamp, string[]][] = [];
  const apart: NonNullable<Packed["x"]>[number][] = [];
  /** The write that made the group which is last in `shared`; most fields come from one. */
  let last: RegisterWrite | undefined;
  const groups = new Map<string, [...PackedStamp, string[]]>();
  for (const [path, { registers }] of cells) {
    const [first, second] = registers;
    if (!first) continue;
    if (second || valueIn(body, path) !== first.value) {
      apart.push([path, registers.map((write) => [...stamp(write), write.value] as const)]);
      continue;
    }
    if (last && last.sequence === first.sequence && last.origin === first.origin) {
      shared.at(-1)?.[3].push(path);
      continue;
    }
    const key = `${first.origin} ${first.sequence}`;
    const known = groups.get(key);
    if (known) {
      known[3].push(path);
      continue;
    }
    const group: [...PackedStamp, string[]] = [...stamp(first), [path]];
    groups.set(key, group);
    shared.push(group);
    last = first;
  }
  if (shared.length > 0) packed.r = shared;
  if (apart.length > 0) packed.x = apart;
}

/** At a JSON pointer. */
function valueIn(body: JsonObject | undefined, path: string): Json | undefined {
  return isPlain(path) ? fieldOf(body, path.slice(1)) : valueAt(body, namesOf(path));
}

/** So that equal states have equal texts. */
const inOrder = <T>(map: ReadonlyMap<string, T>): [string, T][] =>
  map.size === 0 ? [] : [...map].sort(([a], [b]) => (a < b ? -1 : 1));

/** Earlier versions counted past what JSON can hold, which then says null. */
const sumOf = (number: number | null): number => number ?? countMax;

export const decodeState = (
  text: string,
  body: JsonObject | undefined,
  origins: OriginNumbers,
): DocumentState => unpackState(JSON.parse(text) as Packed, body, origins);

export function unpackState(
  packed: Packed,
  body: JsonObject | undefined,
  { originOf }: Pick<OriginNumbers, "originOf">,
): DocumentState {
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
    const known = cells.get(path);
    if (known) return known;
    const cell = emptyCell();
    cells.set(path, cell);
    return cell;
  };
  for (const group of packed.r ?? []) {
    const { hlc, origin, sequence } = stamp(group);
    for (const path of group[3]) {
      const value = valueIn(body, path) as Json;
      cellAt(path).registers = [{ hlc, origin, sequence, value }];
    }
  }
  for (const [path, writes] of packed.x ?? [])
    cellAt(path).registers = writes.map((write): RegisterWrite => ({
      ...stamp(write),
      value: write[3],
    }));
  for (const [path, counts] of packed.c ?? []) {
    for (const [origin = 0, times = 0, total = 0, clearedTimes = 0, cleared = 0] of counts)
      ownCounts(cellAt(path)).set(originOf(origin), {
        times,
        total: sumOf(total),
        clearedTimes,
        cleared: sumOf(cleared),
      });
  }
  for (const [path, members] of packed.m ?? []) {
    for (const [value, pairs] of members) {
      const sequences = new Map<string, number>();
      for (let i = 0; i < pairs.length; i += 2)
        sequences.set(originOf(pairs[i] ?? 0), pairs[i + 1] ?? 0);
      ownMembers(cellAt(path)).set(stable(value), { value, sequences });
    }
  }
  for (const [path, list] of packed.l ?? []) {
    cellAt(path).list = list.map(([n, number, sequence, value]) => {
      const origin = originOf(number);
      return { id: elementId(n, origin), n, origin, sequence, value };
    });
  }
  for (const [path, [text]] of packed.t ?? [])
    if (text !== undefined) cellAt(path).text = textState(text);
  return {
    edits: (packed.e ?? []).map(stamp),
    deletions: (packed.d ?? []).map(stamp),
    cells,
    schema: packed.v ?? 0,
  };
}
