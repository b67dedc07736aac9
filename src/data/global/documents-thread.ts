/** The two halves of a hub's store of documents that lives in a thread of its own. */
import type { Thread } from "../../runtime/thread/index.ts";
import type { DocumentWrite, GivenKey } from "../documents/store.ts";
import type {
  FeedStates,
  FeedWish,
  FillAnswer,
  Publication,
  PublishedAnswer,
  PullQuery,
  GlobalCollectionStatus,
  GlobalDocument,
  GlobalDocumentStore,
  GlobalListPage,
  GlobalListQuery,
} from "./documents.ts";

type ReadQuery = { readonly collection: string; readonly cell?: string; readonly id: string };

export type GlobalDocumentMethods = {
  "globalDocuments.ingest"(batch: {
    readonly cell: string;
    readonly bytes: Uint8Array;
  }): Promise<FeedStates>;
  "globalDocuments.fill"(batch: {
    readonly cell: string;
    readonly bytes: Uint8Array;
  }): Promise<FillAnswer>;
  "globalDocuments.feeds"(query: {
    readonly cell: string;
    readonly wishes: Readonly<Record<string, FeedWish>>;
  }): Promise<FeedStates>;
  "globalDocuments.index"(query: {
    readonly cell: string;
    readonly paths: Readonly<Record<string, readonly string[]>>;
  }): Promise<void>;
  "globalDocuments.read"(query: ReadQuery): Promise<GlobalDocument | undefined>;
  "globalDocuments.list"(query: GlobalListQuery): Promise<GlobalListPage>;
  "globalDocuments.collections"(
    cell: string | undefined,
  ): Promise<readonly GlobalCollectionStatus[]>;
  "globalDocuments.publish"(publication: Publication): Promise<void>;
  "globalDocuments.publications"(): Promise<readonly Publication[]>;
  "globalDocuments.write"(request: {
    readonly writes: readonly DocumentWrite[];
    readonly given: GivenKey;
  }): Promise<PublishedAnswer>;
  "globalDocuments.pull"(query: PullQuery): Promise<Uint8Array | undefined>;
  "globalDocuments.close"(): Promise<void>;
};
export type GlobalDocumentEvents = { "globalDocuments.published": undefined };

/** In the thread: what `serveThread` is to offer. */
export function serveGlobalDocuments(
  store: GlobalDocumentStore,
  emit: (name: "globalDocuments.published", event: undefined) => void,
): GlobalDocumentMethods {
  store.on("published", () => emit("globalDocuments.published", undefined));
  return {
    "globalDocuments.ingest": ({ cell, bytes }) => store.ingest(cell, bytes),
    "globalDocuments.fill": ({ cell, bytes }) => store.fill(cell, bytes),
    "globalDocuments.feeds": ({ cell, wishes }) => store.feeds(cell, wishes),
    "globalDocuments.read": (query) => store.read(query),
    "globalDocuments.index": ({ cell, paths }) => store.index(cell, paths),
    "globalDocuments.list": (query) => store.list(query),
    "globalDocuments.collections": (cell) => store.collections(cell),
    "globalDocuments.publish": (publication) => store.publish(publication),
    "globalDocuments.publications": () => store.publications(),
    "globalDocuments.write": ({ writes, given }) => store.write(writes, given),
    async "globalDocuments.pull"(query) {
      const bytes = await store.pull(query);
      return bytes && new Uint8Array(bytes);
    },
    "globalDocuments.close": () => store.close(),
  };
}

/** On the main thread. `close` closes the store in its thread; the thread itself is its owner's. */
export function connectGlobalDocuments(
  thread: Pick<Thread<GlobalDocumentMethods, GlobalDocumentEvents>, "call" | "on">,
): GlobalDocumentStore {
  return {
    ingest(cell, bytes) {
      const copy = new Uint8Array(bytes);
      const batch = { cell, bytes: copy };
      return thread.call("globalDocuments.ingest", batch, { transfer: [copy.buffer] });
    },
    fill(cell, bytes) {
      const copy = new Uint8Array(bytes);
      const batch = { cell, bytes: copy };
      return thread.call("globalDocuments.fill", batch, { transfer: [copy.buffer] });
    },
    feeds: (cell, wishes) => thread.call("globalDocuments.feeds", { cell, wishes }),
    index: (cell, paths) => thread.call("globalDocuments.index", { cell, paths }),
    read: (query) => thread.call("globalDocuments.read", query),
    list: (query) => thread.call("globalDocuments.list", query),
    collections: (cell) => thread.call("globalDocuments.collections", cell),
    publish: (publication) => thread.call("globalDocuments.publish", publication),
    publications: () => thread.call("globalDocuments.publications", undefined as never),
    write: (writes, given = {}) => thread.call("globalDocuments.write", { writes, given }),
    pull: (query) => thread.call("globalDocuments.pull", query),
    on: (_event, listener) => thread.on("globalDocuments.published", listener),
    close: () => thread.call("globalDocuments.close", undefined as never),
  };
}
