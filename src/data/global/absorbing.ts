/**
 * What a cell wrote to a collection that the hub writes too. The hub's copy for the cell is joined with
 * what the cell sent (M14), and from then on says that it knew it, so that nothing that the cell wrote
 * meanwhile is taken for seen. What that changed in a document is carried over to the hub's own.
 */
import type { EgressPolicy } from "../../api/records/index.ts";
import type { Engine } from "../documents/engine.ts";
import {
  fieldOf,
  isObject,
  objectOf,
  same,
  type Json,
  type JsonObject,
} from "../documents/json.ts";
import type { Dot } from "../documents/operation.ts";
import { join } from "../documents/pointer.ts";
import { isAlive, saturated, type DocumentState } from "../documents/state.ts";
import type { DocumentTables } from "../documents/tables.ts";
import type { FieldDeclaration } from "../documents/store.ts";

/** What a cell let out of a collection, by one policy. */
export type CellCopy = {
  readonly id: number;
  readonly policy: EgressPolicy;
  readonly engine: Engine;
  readonly tables: DocumentTables;
};

/** What was taken of which copy, up to which of its changes. */
export type Absorbed = {
  readonly copy: number;
  readonly upto: number;
  readonly policy: EgressPolicy;
};

/** A document of the hub's copy for the cell, before and after. */
export type Carried = {
  readonly id: string;
  readonly before: JsonObject | undefined;
  readonly after: JsonObject | undefined;
  /** The cell deleted it, also where it had left the cell before. */
  readonly isDeleted: boolean;
};

type Lets = (policy: EgressPolicy) => (path: string) => boolean;

/** Joins all that is new in `from`; inside a transaction. `last`: what was taken before. */
export function absorb(
  {
    collection,
    from,
    to,
    lets,
  }: {
    readonly collection: string;
    readonly from: CellCopy;
    readonly to: Pick<CellCopy, "engine" | "tables">;
    readonly lets: Lets;
  },
  last: Absorbed | undefined,
): { readonly carried: readonly Carried[]; readonly absorbed: Absorbed } {
  const { documents, own } = to.engine;
  const [ours, theirs] = [to.engine.applied(), from.engine.applied()];
  const [heard, hears] = [last && lets(last.policy), lets(from.policy)];
  const carried: Carried[] = [];
  let upto = last?.copy === from.id ? last.upto : 0;
  for (let isMore = true; isMore;) {
    const rows = from.tables.changes({ collection, since: upto, limit: rowsPerStep });
    for (const row of rows) {
      const { id } = row;
      const at = { collection, id };
      const there = to.tables.document(collection, id);
      const held = there && documents.read(there);
      const before = documents.shown(collection, id).body;
      documents.join(documents.rowOf(from.engine.documents.read(row), at), {
        ours: (dot, path) =>
          isIn(ours, dot) &&
          // Of a field that did not leave before, what is here says nothing, but for what is here.
          (path === undefined ||
            dot.origin === own.name ||
            heard?.(path) !== false ||
            has(held, path, dot)),
        theirs: (dot, path) => isIn(theirs, dot) && (path === undefined || hears(path)),
      });
      const now = to.tables.document(collection, id);
      const state = now && documents.read(now);
      const known = new Set(held?.deletions.map(nameOf));
      const isDeleted =
        state !== undefined &&
        !isAlive(state) &&
        state.deletions.some((dot) => dot.origin !== own.name && !known.has(nameOf(dot)));
      carried.push({ id, before, after: documents.shown(collection, id).body, isDeleted });
      upto = row.change;
    }
    isMore = rows.length === rowsPerStep;
  }
  // Logs of the hub come from the hub: what the cell has of them is no news.
  to.engine.adopt(from.engine.positions().filter(({ name }) => !name.startsWith("@")));
  return { carried, absorbed: { copy: from.id, upto, policy: from.policy } };
}

/**
 * `onto` with what `after` has other than `before`: the same where these two are equal. Of counters the
 * difference, of sets and lists what was added and removed.
 */
export function carry(
  { before, after, onto }: Readonly<Record<"before" | "after" | "onto", Json | undefined>>,
  fields: readonly Pick<FieldDeclaration, "path" | "type">[],
  path = "",
): Json | undefined {
  if (same(before, after)) return onto;
  if (same(before, onto)) return after;
  const type = fields.find((field) => field.path === path)?.type;
  if (type === "counter" && typeof after === "number" && typeof onto === "number")
    return saturated(onto + saturated(after - (typeof before === "number" ? before : 0)));
  if ((type === "set" || type === "list") && Array.isArray(after) && Array.isArray(onto)) {
    const had: readonly Json[] = Array.isArray(before) ? before : [];
    const isIn = (list: readonly Json[], value: Json) => list.some((each) => same(each, value));
    return [
      ...onto.filter((value) => !isIn(had, value) || isIn(after, value)),
      ...after.filter((value) => !isIn(had, value) && !isIn(onto, value)),
    ];
  }
  if (!isObject(after) || !isObject(onto) || (before !== undefined && !isObject(before)))
    return after;
  const names = new Set([...Object.keys(onto), ...Object.keys(after)]);
  return objectOf(
    [...names].flatMap((name) => {
      const values = {
        before: fieldOf(before, name),
        after: fieldOf(after, name),
        onto: fieldOf(onto, name),
      };
      const value = carry(values, fields, join(path, name));
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
}

const rowsPerStep = 200;

const isIn = (vector: Readonly<Record<string, number>>, { origin, sequence }: Dot): boolean =>
  sequence <= (vector[origin] ?? 0);

const has = (state: DocumentState | undefined, path: string, { origin, sequence }: Dot): boolean =>
  state?.cells
    .get(path)
    ?.registers.some((dot) => dot.origin === origin && dot.sequence === sequence) === true;

const nameOf = ({ origin, sequence }: Dot) => `${origin} ${sequence}`;
