/**
 * Queries over the hub's documents, across cells: the queries of nodes (`queries/run.ts`), over the
 * copies of one collection (`copies.ts`). On a read-only connection beside the writer's, in SQLite or
 * PostgreSQL, by the same statements.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { PostgresAddress } from "../../runtime/postgres/index.ts";
import { unknownCollection } from "../documents/check.ts";
import { createConnections } from "../queries/connections.ts";
import type { Query, QueryPage } from "../queries/query.ts";
import { runQuery } from "../queries/run.ts";
import { createCopyReads, walkOf } from "./copies.ts";
import { createPostgresReaders } from "./postgres/readers.ts";

export type GlobalDocumentsRequest = {
  readonly collection: string;
  /** Absent: all cells; of a collection that is written here, the hub's own. */
  readonly cell?: string;
  readonly query: Query;
};

/** Where the documents are: a file that exists, or a database that has the tables. */
export type GlobalQueryFiles = {
  readonly global: { readonly path: string } | { readonly address: PostgresAddress };
};

export interface GlobalQueryEngine {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`. */
  documents(request: GlobalDocumentsRequest): Promise<QueryPage>;
  close(): Promise<void>;
}

export function openGlobalQueries(
  deps: { clock: Clock },
  { global }: GlobalQueryFiles,
): GlobalQueryEngine {
  const { clock } = deps;
  const { use, close } =
    "path" in global
      ? createConnections(deps, { path: global.path, reading: createCopyReads })
      : createPostgresReaders(deps, {
          address: global.address,
          application: "skerry-hub-queries",
          reading: createCopyReads,
        });
  return {
    close: async () => await close(),
    documents: ({ collection, cell, query }) =>
      use((reads) => {
        const copies = reads.copies(collection, cell);
        if (!copies) throw new SkerryError(unknownCollection(collection, reads.names()));
        const endMs = clock.monotonicMs() + query.timeoutMs;
        return runQuery(walkOf(reads, copies), {
          collection: cell === undefined ? collection : `${collection} ${cell}`,
          documents: copies.reduce((sum, { documents }) => sum + documents, 0),
          query,
          isOver: () => clock.monotonicMs() >= endMs,
        });
      }),
  };
}
