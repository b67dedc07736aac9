/** Makes the indexes and the claims of rules that are declared, a piece a transaction, behind the writes that wait. */
import type { Log } from "../../lib/log.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import type { Claims } from "./claims.ts";
import type { Documents } from "./documents.ts";
import { rulesOf } from "./rules.ts";
import type { SqliteTables } from "./sqlite-tables.ts";
import type { CollectionDeclaration } from "./store.ts";

export interface Indexing {
  /** Resolves when what is to be done is noted in the file; what was left by an earlier start is done too. */
  declare(collections: readonly CollectionDeclaration[]): Promise<void>;
  /** After a commit: goes on with what writes left to do. */
  wake(): void;
}

export function createIndexing(deps: {
  writer: Writer;
  tables: SqliteTables;
  claims: Claims;
  documents: Pick<Documents, "ruling">;
  log: Log;
}): Indexing {
  const { writer, tables, claims, documents, log } = deps;
  const step = () => tables.stepIndexes() || documents.ruling?.step() === true;
  let isWorking = false;
  let isWanted = false;

  const work = async () => {
    isWanted = true;
    if (isWorking) return;
    isWorking = true;
    try {
      while (isWanted) {
        isWanted = false;
        while (await writer.write(step));
      }
    } catch (error) {
      // A full disk, or the end of the store: what is left is done after the next declaration or start.
      log.warn("an index or a rule is not whole yet", { error });
    } finally {
      isWorking = false;
    }
  };

  return {
    async declare(collections) {
      const wanted = collections.map(({ name, indexes = [] }) => ({ name, indexes }));
      const changed = wanted.filter(({ name, indexes }) => tables.indexesDiffer(name, indexes));
      const ruled = collections
        .map((collection) => ({ name: collection.name, rules: rulesOf(collection) }))
        .filter(({ name, rules }) => claims.differ(name, rules));
      if (changed.length + ruled.length > 0)
        await writer.write(() => {
          for (const { name, indexes } of changed) tables.declareIndexes(name, indexes);
          for (const { name, rules } of ruled) claims.declare(name, rules);
        });
      void work();
    },
    wake() {
      if (documents.ruling?.isBehind) void work();
    },
  };
}
