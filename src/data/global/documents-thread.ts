/** The two halves of a hub's store of documents that lives in a thread of its own. */
import type { Thread } from "../../runtime/thread/index.ts";
import type {
  FeedStates,
  FeedWish,
  GlobalCollectionStatus,
  GlobalDocument,
  GlobalDocumentStore,
  GlobalListPage,
  GlobalListQuery,
} from "./documents.ts";

type ReadQuery = { readonly collection: string; readonly cell: string; readonly id: string };

export type GlobalDocumentMethods = {
  "globalDocuments.ingest"(batch: {
    readonly cell: string;
    readonly bytes: Uint8Array;
  }): Promise<FeedStates>;
  "globalDocuments.feeds"(query: {
    readonly cell: string;
    readonly wishes: Readonly<Record<string, FeedWish>>;
  }): Promise<FeedStates>;
  "globalDocuments.read"(query: ReadQuery): Promise<GlobalDocument | undefined>;
  "globalDocuments.list"(query: GlobalListQuery): Promise<GlobalListPage>;
  "globalDocuments.collections"(
    cell: string | undefined,
  ): Promise<readonly GlobalCollectionStatus[]>;
  "globalDocuments.close"(): Promise<void>;
};

/** In the thread: what `serveThread` is to offer. */
export function serveGlobalDocuments(store: GlobalDocumentStore): GlobalDocumentMethods {
  return {
    "globalDocuments.ingest": ({ cell, bytes }) => store.ingest(cell, bytes),
    "globalDocuments.feeds": ({ cell, wishes }) => store.feeds(cell, wishes),
    "globalDocuments.read": (query) => store.read(query),
    "globalDocuments.list": (query) => store.list(query),
    "globalDocuments.collections": (cell) => store.collections(cell),
    "globalDocuments.close": () => store.close(),
  };
}

/** On the main thread. `close` closes the store in its thread; the thread itself is its owner's. */
export function connectGlobalDocuments(
  thread: Pick<Thread<GlobalDocumentMethods, Record<never, never>>, "call">,
): GlobalDocumentStore {
  return {
    ingest(cell, bytes) {
      const copy = new Uint8Array(bytes);
      const batch = { cell, bytes: copy };
      return thread.call("globalDocuments.ingest", batch, { transfer: [copy.buffer] });
    },
    feeds: (cell, wishes) => thread.call("globalDocuments.feeds", { cell, wishes }),
    read: (query) => thread.call("globalDocuments.read", query),
    list: (query) => thread.call("globalDocuments.list", query),
    collections: (cell) => thread.call("globalDocuments.collections", cell),
    close: () => thread.call("globalDocuments.close", undefined as never),
  };
}
