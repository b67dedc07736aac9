/**
 * What a reader sees of a document: its body, with fields in the order of their names so that equal
 * states give equal text, and the conflicts that a person may want to look at. Where writes of
 * different kinds meet at one place, the richer one is shown: fields below it, then a list, a set, a
 * counter, a text, a plain value; what is not shown is a conflict.
 */
import { stampMs } from "./hybrid-clock.ts";
import { cellsWithin } from "./cells.ts";
import { isObject, objectOf, same, valueAt, type Json, type JsonObject } from "./json.ts";
import type { Stamp } from "./operation.ts";
import { ancestorsOf, isPlain, join, namesOf } from "./pointer.ts";
import {
  countOf,
  isAlive,
  isCounted,
  livingOf,
  type Cell,
  type DocumentState,
  type RegisterWrite,
} from "./state.ts";
import { plainText } from "./text.ts";

/** Who wrote it, where its log has it, and the time of that node's clock. */
export type Author = { readonly origin: string; readonly sequence: number; readonly atMs: number };

export type MadeOfMany = "list" | "set" | "counter" | "text";

export type Conflict =
  /** Writes that did not know of each other: `shown` is what readers see. */
  | {
      readonly kind: "concurrent-writes";
      readonly path: string;
      readonly shown: Json;
      readonly others: readonly (
        | (Author & { readonly value: Json })
        /** Of another kind than what is shown, and made of many writes. */
        | { readonly value: Json; readonly type: MadeOfMany }
      )[];
    }
  /** Deleted by one, edited by another: the document stays. A later edit or deletion settles it. */
  | {
      readonly kind: "deleted-and-edited";
      readonly path: "";
      readonly deletions: readonly Author[];
      readonly edits: readonly Author[];
    }
  /** By a rule of the collection: another document has had these values, at `paths`, for longer. */
  | {
      readonly kind: "value-taken";
      readonly path: string;
      readonly paths: readonly string[];
      readonly values: readonly Json[];
      readonly by: Author & { readonly id: string };
    }
  /** By a rule of the collection: what it names is not there. */
  | {
      readonly kind: "reference-missing";
      readonly path: string;
      readonly collection: string;
      readonly id: string;
    };

export type Shown = {
  /** Undefined: there is no such document, or it was deleted. */
  readonly body: JsonObject | undefined;
  readonly conflicts: readonly Conflict[];
};

/** With its body as JSON. */
export type ShownText = Shown & { readonly text: string | null };

export const withText = (shown: Shown): ShownText => ({
  ...shown,
  text: shown.body === undefined ? null : JSON.stringify(shown.body),
});

type Place = { cell: Cell | undefined; readonly places: Map<string, Place> };

export function show(state: DocumentState): Shown {
  if (!isAlive(state)) return { body: undefined, conflicts: [] };
  const conflicts: Conflict[] = [];
  if (state.deletions.length > 0) {
    conflicts.push({
      kind: "deleted-and-edited",
      path: "",
      deletions: state.deletions.map(author),
      edits: state.edits.map(author),
    });
  }
  const body = showFlat(state, conflicts) ?? showPlace(treeOf(state.cells), "", conflicts);
  return { body: isObject(body) ? body : {}, conflicts };
}

/** What a document that is there shows at a path, by a look at the fields there and below it only. */
export function showAt(state: DocumentState, path: string): Json | undefined {
  const names = namesOf(path);
  let place: Place | undefined = treeOf(cellsWithin(state.cells, path));
  for (const name of names) place = place?.places.get(name);
  const shown = place && showPlace(place, path, []);
  if (shown !== undefined) return shown;
  const isInMap = ancestorsOf(path).some((above) =>
    isObject(state.cells.get(above)?.registers[0]?.value),
  );
  return isInMap ? valueAt(show(state).body, names) : undefined;
}

/** Most documents have no fields within fields, and no names that a pointer escapes: no tree is made. */
function showFlat(state: DocumentState, conflicts: Conflict[]): JsonObject | undefined {
  const paths: string[] = [];
  for (const path of state.cells.keys()) {
    if (!isPlain(path)) return undefined;
    paths.push(path);
  }
  const fields: [string, Json][] = [];
  for (const path of paths.sort(byCodeUnits)) {
    const cell = state.cells.get(path);
    const value = cell && showCell(cell, path, conflicts);
    if (value !== undefined) fields.push([path.slice(1), value]);
  }
  return objectOf(fields);
}

function treeOf(cells: Iterable<readonly [string, Cell]>): Place {
  const root: Place = { cell: undefined, places: new Map() };
  for (const [path, cell] of cells) {
    let place = root;
    for (const name of namesOf(path)) {
      const next = place.places.get(name) ?? { cell: undefined, places: new Map() };
      place.places.set(name, next);
      place = next;
    }
    place.cell = cell;
  }
  return root;
}

function showPlace(place: Place, path: string, conflicts: Conflict[]): Json | undefined {
  const fields: [string, Json][] = [];
  for (const name of [...place.places.keys()].sort(byCodeUnits)) {
    const inner = place.places.get(name);
    const value = inner && showPlace(inner, join(path, name), conflicts);
    if (value !== undefined) fields.push([name, value]);
  }
  const { cell } = place;
  const map = fields.length > 0 ? objectOf(fields) : undefined;
  return cell ? showCell(cell, path, conflicts, map) : map;
}

/** `map`: the fields below it, where there are any. */
function showCell(
  cell: Cell,
  path: string,
  conflicts: Conflict[],
  map?: JsonObject,
): Json | undefined {
  const kinds = kindsIn(cell);
  const shown = map ?? kinds[0]?.value ?? cell.registers[0]?.value;
  if (shown !== undefined) noteConflict(cell, path, { shown, kinds }, conflicts);
  return shown;
}

function noteConflict(
  cell: Cell,
  path: string,
  { shown, kinds }: { shown: Json; kinds: readonly Kind[] },
  conflicts: Conflict[],
): void {
  const { registers } = cell;
  const plain = kinds.length === 0 && shown === registers[0]?.value;
  // What is shown is all that there is.
  if (kinds.length + registers.length <= 1 && (plain || shown === kinds[0]?.value)) return;
  const isHidden = ({ value }: { readonly value: Json }) => !same(value, shown);
  const others = [
    ...kinds.filter(isHidden),
    ...registers
      .filter((write) => isHidden(write) && (plain || !isEmpty(write.value, cell)))
      .map(withValueOf),
  ];
  if (others.length > 0) conflicts.push({ kind: "concurrent-writes", path, shown, others });
}

type Kind = { readonly type: MadeOfMany; readonly value: Json };

const noKinds: readonly Kind[] = [];

/** What a field holds beside plain values, the richest first. */
function kindsIn(cell: Cell): readonly Kind[] {
  if (cell.list.length + cell.members.size + cell.counts.size === 0 && !cell.text) return noKinds;
  const kinds: Kind[] = [];
  const living = livingOf(cell);
  if (living.length > 0) kinds.push({ type: "list", value: living.map(({ value }) => value) });
  if (cell.members.size > 0) {
    const keys = [...cell.members.keys()].sort(byCodeUnits);
    kinds.push({ type: "set", value: keys.map((key) => cell.members.get(key)!.value) });
  }
  if (isCounted(cell)) kinds.push({ type: "counter", value: countOf(cell) });
  const text = plainText(cell.text);
  if (text !== "") kinds.push({ type: "text", value: text });
  return kinds;
}

/** An empty list, map or text stands for "nothing here yet", and gives way to what is put into it. */
const isEmpty = (value: Json, { text }: Cell): boolean =>
  typeof value === "object" && value !== null
    ? Object.keys(value).length === 0
    : value === "" && text !== undefined;

const byCodeUnits = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const author = ({ origin, sequence, hlc }: Stamp): Author => ({
  origin,
  sequence,
  atMs: stampMs(hlc),
});

const withValueOf = (write: RegisterWrite) => ({ ...author(write), value: write.value });
