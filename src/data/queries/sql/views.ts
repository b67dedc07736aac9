/**
 * What a statement may read: a view for each collection, a table for each stream. They exist twice: as
 * empty tables in a database of their own, which a statement is held against first, and over the
 * node's files, where it runs. What names nothing else than what the first has reads nothing else in
 * the second.
 */
import type { Database } from "../../../runtime/sqlite/index.ts";
import { namesOf } from "../../documents/pointer.ts";

export type View = {
  readonly name: string;
  readonly kind: "collection" | "stream";
  /** As the store calls it. */
  readonly of: string;
  /** Undefined: nothing was ever written. */
  readonly number?: number;
  readonly columns: readonly Column[];
};
type Column = { readonly name: string; readonly type: string; readonly path?: string };

export type Held = { readonly name: string; readonly number?: number };

const documentColumns: readonly Column[] = [
  { name: "id", type: "TEXT" },
  { name: "body", type: "TEXT" },
  { name: "conflicts", type: "INTEGER" },
];
export const entryColumns: readonly Column[] = [
  { name: "at", type: "TEXT" },
  { name: "at_ms", type: "INTEGER" },
  { name: "producer", type: "TEXT" },
  { name: "epoch", type: "INTEGER" },
  { name: "sequence", type: "INTEGER" },
  { name: "origin", type: "TEXT" },
  { name: "position", type: "INTEGER" },
  { name: "body", type: "TEXT" },
];

/** Lists the others. */
export const catalogue = "all_views";

/** A stream that is called as a collection is has `_entries` behind its name. */
export function viewsOf(
  collections: readonly (Held & { readonly fields: readonly string[] })[],
  streams: readonly Held[],
): readonly View[] {
  const taken = new Set(collections.map(({ name }) => name));
  return [
    ...collections.map(({ name, number, fields }): View => ({
      name,
      kind: "collection",
      of: name,
      ...(number === undefined ? {} : { number }),
      columns: [...documentColumns, ...fieldColumns(fields)],
    })),
    ...streams.map(({ name }): View => ({
      name: taken.has(name) ? `${name}_entries` : name,
      kind: "stream",
      of: name,
      columns: entryColumns,
    })),
  ];
}

/** Declared fields, by their names between dots; one whose name stands for two is left to `body`. */
function fieldColumns(fields: readonly string[]): readonly Column[] {
  const taken = new Set(documentColumns.map(({ name }) => name));
  return fields.flatMap((pointer): Column[] => {
    const names = namesOf(pointer);
    const name = names.join(".");
    // SQLite's JSON paths have no way to write a quotation mark in a name.
    if (taken.has(name) || names.some((each) => each.includes('"'))) return [];
    taken.add(name);
    return [{ name, type: "", path: `$${names.map((each) => `."${each}"`).join("")}` }];
  });
}

/** Tables with the names and columns of the views, and nothing in them. */
export function createShapes(db: Database, views: readonly View[]): void {
  for (const { name, columns } of views) createTable(db, name, columns);
  createTable(db, catalogue, catalogueColumns);
}

const catalogueColumns: readonly Column[] = ["name", "kind", "columns"].map((name) => ({
  name,
  type: "TEXT",
}));

/** The views themselves; tables of streams are empty until they are filled. */
export function createViews(db: Database, views: readonly View[]): void {
  for (const { name, kind, number, columns } of views) {
    if (kind === "stream") {
      createTable(db, name, columns);
      continue;
    }
    const values = columns.map(({ name: column, path }) =>
      path === undefined ? quoted(column) : `body ->> ${text(path)} AS ${quoted(column)}`,
    );
    db.exec(`CREATE TEMP VIEW ${quoted(name)} AS SELECT ${values.join(", ")}
      FROM main.document WHERE collection = ${number ?? -1} AND body IS NOT NULL`);
  }
  createTable(db, catalogue, catalogueColumns);
  const add = db.prepare(`INSERT INTO temp.${catalogue} VALUES (?, ?, ?)`);
  for (const { name, kind, columns } of views)
    add.run(name, kind, columns.map((column) => column.name).join(", "));
}

const createTable = (db: Database, name: string, columns: readonly Column[]) =>
  db.exec(
    `CREATE TEMP TABLE ${quoted(name)}(${columns.map((column) => `${quoted(column.name)} ${column.type}`).join(", ")})`,
  );

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
