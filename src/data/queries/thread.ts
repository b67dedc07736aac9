/**
 * The main thread's half: queries go to a thread of their own, which is started by the first one and
 * ended when none came for a while. What takes too much memory there ends that thread, and nothing
 * else (Q5).
 */
import type { Clock } from "../../lib/clock.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { createOnDemandThread, startThread } from "../../runtime/thread/index.ts";
import type {
  GlobalDocumentsRequest,
  GlobalEntriesRequest,
  GlobalQueryFiles,
} from "../global/queries.ts";
import type { EntriesRequest, QueryEngine, QueryFiles } from "./engine.ts";
import type { LiveEngine, LiveRequest, Looked } from "./live.ts";
import type { DocumentsRequest, QueryPage } from "./query.ts";

export type QueryMethods = {
  "queries.documents"(request: DocumentsRequest): Promise<QueryPage>;
  "queries.entries"(request: EntriesRequest): Promise<QueryPage>;
  "queries.open"(request: LiveRequest): Promise<readonly string[]>;
  "queries.look"(lives: readonly number[]): Promise<Looked>;
  "queries.close"(live: number): void;
};

/** The live queries of the thread; without any it may end. */
export type LiveThread = Pick<LiveEngine, "open" | "look"> & {
  /** Does not start a thread, nor wait for it. */
  close(live: number): void;
};

/** Throws `thread-ended` besides. */
export type Queries = Pick<QueryEngine, "documents" | "entries"> & {
  readonly live: LiveThread;
  stop(): Promise<void>;
};

const idleMsDefault = 60_000;
const heapMbMax = 256;

export type GlobalQueryMethods = {
  "queries.globalDocuments"(request: GlobalDocumentsRequest): Promise<QueryPage>;
  "queries.globalEntries"(request: GlobalEntriesRequest): Promise<QueryPage>;
};
export type GlobalQueries = {
  documents(request: GlobalDocumentsRequest): Promise<QueryPage>;
  entries(request: GlobalEntriesRequest): Promise<QueryPage>;
  stop(): Promise<void>;
};

/**
 * Over what the hub has of cells, in the same kind of thread: one for documents and one for streams,
 * for a thread sleeps while PostgreSQL answers, and neither is to wait for the other.
 */
export function createGlobalQueries(
  deps: { clock: Clock },
  files: GlobalQueryFiles,
): GlobalQueries {
  const thread = () =>
    createOnDemandThread<GlobalQueryMethods>(deps, {
      what: "queries",
      idleMs: idleMsDefault,
      start: () => startQueries<GlobalQueryMethods>(files),
    });
  const documents = thread();
  const streams = thread();
  return {
    documents: (request) => documents.use(({ call }) => call("queries.globalDocuments", request)),
    entries: (request) => streams.use(({ call }) => call("queries.globalEntries", request)),
    async stop() {
      await Promise.all([documents.stop(), streams.stop()]);
    },
  };
}

const startQueries = <Methods extends QueryMethods | GlobalQueryMethods>(
  data: QueryFiles | GlobalQueryFiles,
) =>
  startThread<Methods>(entryUrl(import.meta.url, "./queries.entry"), {
    name: "queries",
    data,
    heapMbMax,
  });

export function createQueries(
  deps: { clock: Clock },
  options: QueryFiles & { idleMs?: number },
): Queries {
  const { idleMs = idleMsDefault, ...files } = options;
  const lives = new Set<number>();
  const queries = createOnDemandThread<QueryMethods>(deps, {
    what: "queries",
    idleMs,
    isNeeded: () => lives.size > 0,
    start: () => startQueries<QueryMethods>(files),
  });

  return {
    documents: (request) => queries.use((thread) => thread.call("queries.documents", request)),
    entries: (request) => queries.use((thread) => thread.call("queries.entries", request)),
    live: {
      async open(request) {
        lives.add(request.live);
        try {
          return await queries.use((thread) => thread.call("queries.open", request));
        } catch (error) {
          lives.delete(request.live);
          queries.rest();
          throw error;
        }
      },
      look: (numbers) => queries.use((thread) => thread.call("queries.look", numbers)),
      close(live) {
        if (!lives.delete(live)) return;
        queries.rest();
        const forget = async () => (await queries.running)?.call("queries.close", live);
        // A thread that ended holds nothing any more.
        forget().catch(() => undefined);
      },
    },
    stop: () => queries.stop(),
  };
}
