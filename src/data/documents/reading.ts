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
      const rows = tables.list({ collection, after, limit: size + 1, conflicted });
      const documents = documentsOf(rows.slice(0, size));
      const next = rows.length > size ? rows[size - 1]?.id : undefined;
      return { documents, ...(next === undefined ? {} : { next }) };
    },
    changes({ collection, since, limit }: ChangesQuery): ChangesPage {
      const size = pageSize(limit);
      const from = parseCursor(since, view);
      const rows = tables.changes({ collection, since: from, limit: size + 1 });
      const page = rows.slice(0, size);
      const cursorOf = (change: number) => `${view}.${change}`;
      return {
        changes: page.map((row) => {
          const document = documentOf(row);
          const at = { id: row.id, cursor: cursorOf(row.change) };
          return document ? { ...at, deleted: false, document } : { ...at, deleted: true };
        }),
        cursor: cursorOf(page.at(-1)?.change ?? from),
        more: rows.length > size,
      };
    },
  };
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
