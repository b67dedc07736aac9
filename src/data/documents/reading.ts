/** Reads of documents: by id, by page, and what changed since a cursor. */
import type { TextDelta } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { parseCursor } from "../streams/cursor.ts";
import { show } from "./body.ts";
import { versionOf } from "./documents.ts";
import type { Engine } from "./engine.ts";
import type { SqliteTables } from "./sqlite-tables.ts";
import type { ChangesPage, ChangesQuery, Document, ListPage, ListQuery } from "./store.ts";
import type { DocumentState } from "./state.ts";
import type { DocumentRow } from "./tables.ts";
import { formattedText } from "./text.ts";

export const documentsPerPageMax = 1000;
/** As of queries: what a page holds is in memory several times on its way out. */
const pageBytesMax = 4 * 1024 * 1024;
const rowsPerStep = 50;

export function createReader(deps: { tables: SqliteTables; engine: Engine; view: string }) {
  const { tables, engine, view } = deps;

  const documentOf = (row: DocumentRow): Document | undefined => {
    const state = engine.documents.read(row);
    const { body, conflicts: own } = show(state);
    const version = versionOf(state);
    if (body === undefined || version === undefined) return undefined;
    const { collection, id } = row;
    const ofRules =
      row.conflicts > own.length ? engine.documents.ruling?.conflictsOf(row, body) : undefined;
    const conflicts = ofRules ? [...own, ...ofRules] : own;
    const texts = formattedIn(state);
    return {
      ...{ collection, id, version, schemaVersion: state.schema, body, conflicts },
      ...(texts ? { texts } : {}),
    };
  };
  const documentsOf = (rows: readonly DocumentRow[]) =>
    rows.map(documentOf).filter((document) => document !== undefined);

  return {
    read(collection: string, id: string): Document | undefined {
      const row = tables.document(collection, id);
      return row && documentOf(row);
    },
    list({ collection, after = "", limit, conflicted = false }: ListQuery): ListPage {
      const size = pageSize(limit);
      const { rows, more } = pageOf(size, (last, step) =>
        tables.list({ collection, after: last?.id ?? after, limit: step, conflicted }),
      );
      const documents = documentsOf(rows);
      const next = more ? rows.at(-1)?.id : undefined;
      return { documents, ...(next === undefined ? {} : { next }) };
    },
    changes({ collection, since, limit }: ChangesQuery): ChangesPage {
      const size = pageSize(limit);
      const from = parseCursor(since, view);
      const { rows, more } = pageOf(size, (last, step) =>
        tables.changes({ collection, since: last?.change ?? from, limit: step }),
      );
      const cursorOf = (change: number) => `${view}.${change}`;
      return {
        changes: rows.map((row) => {
          const document = documentOf(row);
          const at = { id: row.id, cursor: cursorOf(row.change) };
          return document ? { ...at, deleted: false, document } : { ...at, deleted: true };
        }),
        cursor: cursorOf(rows.at(-1)?.change ?? from),
        more,
      };
    },
  };
}

/** Rows up to the size of a page, or to its bytes, with whether there are more. */
function pageOf(
  size: number,
  read: (last: DocumentRow | undefined, limit: number) => readonly DocumentRow[],
): { rows: readonly DocumentRow[]; more: boolean } {
  const rows: DocumentRow[] = [];
  let bytes = 0;
  for (;;) {
    const step = Math.min(rowsPerStep, size + 1 - rows.length);
    const found = read(rows.at(-1), step);
    for (const row of found) {
      if (rows.length === size || bytes >= pageBytesMax) return { rows, more: true };
      rows.push(row);
      // The state has what is in conflict, and texts with their attributes.
      bytes += (row.body?.length ?? 0) + row.state.length;
    }
    if (found.length < step) return { rows, more: false };
  }
}

function formattedIn({ cells }: DocumentState): Document["texts"] {
  let found: Record<string, TextDelta> | undefined;
  for (const [path, { text }] of cells) {
    const delta = text && formattedText(text);
    if (delta) (found ??= {})[path] = delta;
  }
  return found;
}

/** Default 100. Throws `invalid-limit`. */
function pageSize(limit = 100): number {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= documentsPerPageMax) return limit;
  throw new SkerryError({
    code: "invalid-limit",
    message: `limit: ${limit} must be a whole number from 1 to ${documentsPerPageMax}`,
  });
}
