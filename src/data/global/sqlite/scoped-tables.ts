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
    lastChange: () => base.lastChangeOf(collection),
    clearDocuments: () => base.clearCollection(collection, scope),
    own: () => undefined,
  };
}
