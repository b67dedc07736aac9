/** Queries over a node's files. Runs in a thread of its own; the writer's is not touched (Q5). */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { unknownCollection } from "../documents/check.ts";
import { unknownStream } from "../streams/check.ts";
import { createConnections } from "./connections.ts";
import { createEntryReading, noEntries, runEntries, type EntriesQuery } from "./entries.ts";
import type { Query, QueryPage } from "./query.ts";
import { createReads } from "./reads.ts";
import { runQuery } from "./run.ts";

/** `isDeclared`: one without content is empty, not unknown. */
export type DocumentsRequest = {
  readonly collection: string;
  readonly isDeclared: boolean;
  readonly query: Query;
};
export type EntriesRequest = {
  readonly stream: string;
  readonly isDeclared: boolean;
  readonly query: EntriesQuery;
};

export interface QueryEngine {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`, `closed`. */
  documents(request: DocumentsRequest): Promise<QueryPage>;
  /** Throws `stream-unknown`, `segment-damaged`, and as `documents`. */
  entries(request: EntriesRequest): Promise<QueryPage>;
  close(): void;
}

/** Databases that exist. */
export type QueryFiles = { readonly documentsPath: string; readonly streamsPath: string };

/** Declared, and without a document yet. */
const noCollection = -1;

export function createQueryEngine(deps: { clock: Clock }, files: QueryFiles): QueryEngine {
  const { clock } = deps;
  const documents = createConnections(deps, { path: files.documentsPath, reading: createReads });
  const streams = createConnections(deps, { path: files.streamsPath, reading: createEntryReading });
  const until = (timeoutMs: number): (() => boolean) => {
    const endMs = clock.monotonicMs() + timeoutMs;
    return () => documents.isClosed || clock.monotonicMs() >= endMs;
  };
  return {
    documents: ({ collection, isDeclared, query }) =>
      documents.use((reads) => {
        const found = reads.collection(collection);
        if (!found && !isDeclared) throw new SkerryError(unknownCollection(collection, []));
        const { number, documents: count } = found ?? { number: noCollection, documents: 0 };
        const isOver = until(query.timeoutMs);
        return runQuery(reads, { collection, number, documents: count, query, isOver });
      }),
    entries: ({ stream, isDeclared, query }) =>
      streams.use((reading) => {
        const found = reading.open(stream);
        if (!found && !isDeclared) throw new SkerryError(unknownStream(stream, []));
        return runEntries(found ?? noEntries, { stream, query, isOver: until(query.timeoutMs) });
      }),
    close() {
      documents.close();
      streams.close();
    },
  };
}
