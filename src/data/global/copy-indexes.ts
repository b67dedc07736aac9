/**
 * Which indexes the hub's copies of cells' collections have: those that nodes of the cell last asked for,
 * also of a copy that is begun later. The hub's own document of a collection that cells write too has
 * those of all cells, one after the other, as far as there is room.
 */
import type { SqliteTables } from "../documents/sqlite-tables.ts";

export interface CopyIndexes {
  /** What a node of the cell says; by collection, as JSON pointers. */
  want(cell: string, paths: Readonly<Record<string, readonly string[]>>): void;
  /** Whether `declare` would change anything. */
  differ(cell: string, collections: readonly string[]): boolean;
  /** Inside a transaction. */
  declare(cell: string, collections: readonly string[]): void;
}

/** Of one collection, as in a cell. */
export const indexesMax = 16;

export function createCopyIndexes(deps: {
  tables: Pick<SqliteTables, "indexesOf" | "indexesDiffer" | "declareIndexes">;
  /** Names in the tables. `shared`: the hub's own, of all cells. */
  copiesOf(at: { cell: string; collection: string }): {
    readonly own: readonly string[];
    readonly shared: readonly string[];
  };
}): CopyIndexes {
  const { tables, copiesOf } = deps;
  /** By cell, by collection. What a link says holds for what comes over it: it is said again with each. */
  const wanted = new Map<string, Map<string, readonly string[]>>();
  const differing = (cell: string, collections: readonly string[]) =>
    collections.flatMap((collection) => {
      const paths = wanted.get(cell)?.get(collection);
      if (!paths) return [];
      const { own, shared } = copiesOf({ cell, collection });
      const added = shared.map((name) => ({
        name,
        paths: [...new Set([...tables.indexesOf(name), ...paths])].slice(0, indexesMax),
      }));
      return [...own.map((name) => ({ name, paths })), ...added].filter((each) =>
        tables.indexesDiffer(each.name, each.paths),
      );
    });
  return {
    want(cell, paths) {
      const byCollection = wanted.get(cell) ?? new Map<string, readonly string[]>();
      wanted.set(cell, byCollection);
      for (const [collection, list] of Object.entries(paths)) byCollection.set(collection, list);
    },
    differ: (cell, collections) => differing(cell, collections).length > 0,
    declare(cell, collections) {
      for (const { name, paths } of differing(cell, collections))
        tables.declareIndexes(name, paths);
    },
  };
}
