/**
 * Whether a statement is one that only reads, and only what it may: it is prepared in a database that
 * has nothing but the names of the views, under an authorizer (sqlite.org/c3ref/set_authorizer.html).
 * There is nothing behind these names to reach, whatever a statement calls its own parts.
 */
import { SkerryError } from "../../../lib/errors.ts";
import { openMemory, sqliteActions, type Database } from "../../../runtime/sqlite/index.ts";
import { catalogue, createShapes, type View } from "./views.ts";

/** Tables of SQLite's own, made of their arguments. */
const functionsOfTables = new Set(["json_each", "json_tree"]);
const refusedFunctions = new Set(["load_extension"]);

/** The views that it reads. Throws `invalid-sql`. */
export function checkStatement(sql: string, views: readonly View[]): ReadonlySet<string> {
  const shapes = openMemory();
  try {
    createShapes(shapes, views);
    return readBy(shapes, sql, views);
  } finally {
    shapes.close();
  }
}

function readBy(db: Database, sql: string, views: readonly View[]): ReadonlySet<string> {
  const names = new Set([...views.map(({ name }) => name), catalogue]);
  const read = new Set<string>();
  let refused: string | undefined;
  let isSelect = false;
  const { allow, deny, select, recursive, read: reads, function: calls } = sqliteActions;
  db.setAuthorizer((action, first, second) => {
    switch (action) {
      case select:
        isSelect = true;
        return allow;
      case recursive:
        return allow;
      case reads:
        if (first !== null && (names.has(first) || functionsOfTables.has(first))) {
          read.add(first);
          return allow;
        }
        refused ??= `"${first}" is none of what can be read`;
        return deny;
      case calls:
        if (second === null || !refusedFunctions.has(second)) return allow;
        refused ??= `${second} is not called here`;
        return deny;
      default:
        refused ??= onlyReading;
        return deny;
    }
  });
  let compiled: string;
  try {
    compiled = db.prepare(sql).sourceSQL;
  } catch (cause) {
    const words = cause instanceof Error ? cause.message : String(cause);
    throw invalid(refused ?? words, views, cause);
  }
  // What comes behind the first statement is not compiled by anybody.
  if (!isBlank(sql.slice(compiled.length))) throw invalid("one statement at a time", views);
  if (isBlank(compiled)) throw invalid("there is no statement", views);
  // VACUUM and REINDEX ask no authorizer when they are compiled.
  if (!isSelect) throw invalid(onlyReading, views);
  return read;
}

/**
 * From now on `db` compiles nothing but statements that read. What runs asks it too: VACUUM attaches
 * the file that it writes, under whatever name a statement within it makes up.
 */
export function denyWrites(db: Database): void {
  const { allow, deny, select, recursive, read, function: calls } = sqliteActions;
  const allowed = new Set<number>([select, recursive, read, calls]);
  db.setAuthorizer((action) => (allowed.has(action) ? allow : deny));
}

const onlyReading = "only statements that read are taken";

const isBlank = (sql: string): boolean =>
  sql.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\//g, "").replaceAll(/[\s;]/g, "") === "";

function invalid(problem: string, views: readonly View[], cause?: unknown): SkerryError {
  const some = views.slice(0, 20).map(({ name }) => name);
  return new SkerryError({
    code: "invalid-sql",
    message: `sql: ${problem}`,
    hint: `there are ${[...some, catalogue].join(", ")}; select * from ${catalogue} shows their columns`,
    cause,
  });
}
