/** One store's worth of a file that holds many: origins by how their names begin, documents by collection. */
import type { SqliteTables } from "../../documents/sqlite-tables.ts";
import type { DocumentTables, OriginRow } from "../../documents/tables.ts";

export function scopedTables(
  base: SqliteTables,
  { scope, collection }: { scope: string; collection: string },
): DocumentTables {
  const bare = (row: OriginRow): OriginRow => ({ ...row, name: row.name.slice(scope.length) });
  return {
    ...base,
    origins: () => base.origins(scope).map(bare),
    addOrigin: (name) => bare(base.addOrigin(scope + name)),
    document: (_collection, id) => base.document(collection, id),
    saveDocument: (row) => base.saveDocument({ ...row, collection }),
    collections: () => [collection],
    changes: (query) => base.changes({ ...query, collection }),
    stage: (row) => base.stage({ ...row, collection }),
    staged: (limit) => base.stagedOf(collection, limit),
    unstage: (row) => base.unstage({ ...row, collection }),
    clearStaged: () => base.clearStagedOf(collection),
    stagedAt: () => base.stagedAtOf(scope),
    setStagedAt: (text) => base.setStagedAtOf(scope, text),
    // Keys of requests do not leave a cell, and the hub's own stay here.
    keys: () => [],
    stageKey: () => undefined,
    adoptKeys: () => undefined,
    lastChange: () => base.lastChangeOf(collection),
    clearDocuments: () => base.clearCollection(collection, scope),
    own: () => undefined,
  };
}
