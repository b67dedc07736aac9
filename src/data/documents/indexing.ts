/** Makes the indexes that are declared, a piece a transaction, behind the writes that wait. */
import type { Log } from "../../lib/log.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import type { SqliteTables } from "./sqlite-tables.ts";
import type { CollectionDeclaration } from "./store.ts";

export interface Indexing {
  /** Resolves when what is to be done is noted in the file; what was left by an earlier start is done too. */
  declare(collections: readonly CollectionDeclaration[]): Promise<void>;
}

export function createIndexing(deps: { writer: Writer; tables: SqliteTables; log: Log }): Indexing {
  const { writer, tables, log } = deps;
  let isWorking = false;
  let isWanted = false;

  const work = async () => {
    isWanted = true;
    if (isWorking) return;
    isWorking = true;
    try {
      while (isWanted) {
        isWanted = false;
        while (await writer.write(() => tables.stepIndexes()));
      }
    } catch (error) {
      // A full disk, or the end of the store: what is left is done after the next declaration or start.
      log.warn("an index is not whole yet", { error });
    } finally {
      isWorking = false;
    }
  };

  return {
    async declare(collections) {
      const wanted = collections.map(({ name, indexes = [] }) => ({ name, indexes }));
      const changed = wanted.filter(({ name, indexes }) => tables.indexesDiffer(name, indexes));
      if (changed.length > 0)
        await writer.write(() => {
          for (const { name, indexes } of changed) tables.declareIndexes(name, indexes);
        });
      void work();
    },
  };
}
