/** Queries over a node's files. Runs in a thread of its own; the writer's is not touched (Q5). */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { unknownCollection } from "../documents/check.ts";
import { unknownStream } from "../streams/check.ts";
import { createConnections } from "./connections.ts";
import { createEntryReading, noEntries, runEntries, type EntriesQuery } from "./entries.ts";
import type { DocumentsRequest, QueryPage } from "./query.ts";
import { createLiveEngine, type LiveEngine } from "./live.ts";
import { createReads, sourceOf, type Reads } from "./reads.ts";
import { runQuery } from "./run.ts";

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
  readonly live: LiveEngine;
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
  const find = (reads: Reads, { collection, isDeclared }: DocumentsRequest) => {
    const found = reads.collection(collection);
    if (!found && !isDeclared) throw new SkerryError(unknownCollection(collection, []));
    return found ?? { number: noCollection, documents: 0 };
  };
  return {
    documents: (request) =>
      documents.use((reads) => {
        const { collection, query } = request;
        const isOver = until(query.timeoutMs);
        const { number, documents: count } = find(reads, request);
        return runQuery(sourceOf(reads, number), { collection, documents: count, query, isOver });
      }),
    entries: ({ stream, isDeclared, query }) =>
      streams.use((reading) => {
        const found = reading.open(stream);
        if (!found && !isDeclared) throw new SkerryError(unknownStream(stream, []));
        return runEntries(found ?? noEntries, { stream, query, isOver: until(query.timeoutMs) });
      }),
    live: createLiveEngine(deps, { documents, find }),
    close() {
      documents.close();
      streams.close();
    },
  };
}
