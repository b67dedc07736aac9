/**
 * Queries at the hub, across cells: those of nodes (`queries/run.ts`, `queries/entries.ts`), over the
 * copies of one collection (`copies.ts`), and over the streams of one name. On read-only connections
 * beside the writers', in SQLite or PostgreSQL.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { PostgresAddress } from "../../runtime/postgres/index.ts";
import { unknownCollection } from "../documents/check.ts";
import { createConnections } from "../queries/connections.ts";
import { runEntries, type EntriesQuery } from "../queries/entries.ts";
import type { Query, QueryPage } from "../queries/query.ts";
import { runQuery } from "../queries/run.ts";
import { unknownStream } from "../streams/check.ts";
import { createCopyReads, walkOf } from "./copies.ts";
import { createPostgresEntryReading } from "./postgres/entry-reading.ts";
import { createPostgresReaders } from "./postgres/readers.ts";
import { createSqliteEntryReading } from "./sqlite/entry-reading.ts";

export type GlobalDocumentsRequest = {
  readonly collection: string;
  /** Absent: all cells; of a collection that is written here, the hub's own. */
  readonly cell?: string;
  readonly query: Query;
};

export type GlobalEntriesRequest = {
  readonly stream: string;
  /** Absent: all cells. */
  readonly cell?: string;
  readonly query: EntriesQuery;
};

/** Where they are: files that exist, or a database that has the tables. */
export type GlobalQueryFiles = {
  readonly global:
    | { readonly documentsPath: string; readonly streamsPath: string }
    | { readonly address: PostgresAddress };
};

export interface GlobalQueryEngine {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`. */
  documents(request: GlobalDocumentsRequest): Promise<QueryPage>;
  /** Throws `stream-unknown`, `segment-damaged`, and as `documents`. */
  entries(request: GlobalEntriesRequest): Promise<QueryPage>;
  close(): Promise<void>;
}

export function openGlobalQueries(
  deps: { clock: Clock },
  { global }: GlobalQueryFiles,
): GlobalQueryEngine {
  const { clock } = deps;
  const application = "skerry-hub-queries";
  const documents =
    "address" in global
      ? createPostgresReaders(deps, { ...global, application, reading: createCopyReads })
      : createConnections(deps, { path: global.documentsPath, reading: createCopyReads });
  const streams =
    "address" in global
      ? createPostgresReaders(deps, { ...global, application, reading: createPostgresEntryReading })
      : createConnections(deps, { path: global.streamsPath, reading: createSqliteEntryReading });
  return {
    async close() {
      await documents.close();
      await streams.close();
    },
    entries: ({ stream, cell, query }) =>
      streams.use((reading) => {
        const found = reading.open(stream, cell);
        if ("known" in found) throw new SkerryError(unknownStream(stream, new Set(found.known)));
        const endMs = clock.monotonicMs() + query.timeoutMs;
        const isOver = () => clock.monotonicMs() >= endMs;
        return runEntries(found, { stream, query, isOver });
      }),
    documents: ({ collection, cell, query }) =>
      documents.use((reads) => {
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
