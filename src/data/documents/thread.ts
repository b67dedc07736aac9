/**
 * The two halves of a store that lives in the storage thread. Few calls are under way at a time: what
 * waits, waits here, where it is counted and refused with `store-busy` before memory runs out.
 */
import type { Thread } from "../../runtime/thread/index.ts";
import type { ApplyAnswer, EncodedBatch, LogQuery, Vector } from "../streams/store.ts";
import type { ClearedLog, DocumentEgress, OperationGate } from "../ports.ts";
import type { Observed, Proof } from "../streams/put-back.ts";
import type { ReplicatedSnapshots } from "../replication/replicated.ts";
import type { SnapshotTaken } from "./snapshots.ts";
import type { TruncateLimits, Truncated } from "./truncate.ts";
import { busy } from "../streams/refusal.ts";
import type {
  ChangesPage,
  ChangesQuery,
  CollectionDeclaration,
  Document,
  DocumentsGrown,
  DocumentsStatus,
  DocumentStore,
  DocumentWrite,
  Expired,
  ExpireQuery,
  GivenKey,
  ListPage,
  LeavingSnapshotQuery,
  ListQuery,
  LocalDocumentStore,
  WriteAnswer,
} from "./store.ts";

type GiveQuery = Parameters<ReplicatedSnapshots["give"]>[0];
type ClearQuery = Parameters<DocumentEgress<unknown>["clear"]>[0];

export type DocumentMethods<C = unknown> = {
  "documents.declare"(collections: readonly CollectionDeclaration[]): Promise<void>;
  "documents.write"(request: {
    readonly writes: readonly DocumentWrite[];
    readonly given: GivenKey;
  }): Promise<WriteAnswer>;
  "documents.read"(query: { collection: string; id: string }): Promise<Document | undefined>;
  "documents.list"(query: ListQuery): Promise<ListPage>;
  "documents.changes"(query: ChangesQuery): Promise<ChangesPage>;
  "documents.status"(): Promise<DocumentsStatus>;
  "documents.log"(query: LogQuery): Promise<EncodedBatch | undefined>;
  "documents.apply"(bytes: Uint8Array): Promise<ApplyAnswer & { readonly vector: Vector }>;
  "documents.vector"(): Promise<Vector>;
  "documents.observe"(told: { readonly vector: Vector; readonly proof?: Proof }): Promise<Observed>;
  "documents.truncate"(limits: TruncateLimits): Promise<Truncated>;
  "documents.expire"(query: ExpireQuery): Promise<Expired>;
  "documents.give"(query: GiveQuery): Promise<Uint8Array | undefined>;
  "documents.take"(bytes: Uint8Array): Promise<SnapshotTaken>;
  "documents.place"(): ReturnType<ReplicatedSnapshots["place"]>;
  "documents.clear"(query: ClearQuery): Promise<ClearedLog<C> | undefined>;
  "documents.clearSnapshot"(query: LeavingSnapshotQuery): Promise<C | undefined>;
  "documents.close"(): Promise<void>;
};
export type DocumentEvents = { "documents.grown": DocumentsGrown };

/** In the storage thread: what `serveThread` is to offer. */
export function serveDocumentStore<C>(
  deps: { store: LocalDocumentStore; gate: OperationGate<C> },
  emit: (name: "documents.grown", event: DocumentsGrown) => void,
): DocumentMethods<C> {
  const { store, gate } = deps;
  store.on("grown", (grown) => emit("documents.grown", grown));
  return {
    async "documents.declare"(collections) {
      gate.setPolicies(
        Object.fromEntries(
          collections.flatMap(({ name, egress }) => (egress ? [[name, egress]] : [])),
        ),
      );
      await store.declare(collections);
    },
    "documents.write": ({ writes, given }) => store.write(writes, given),
    "documents.read": (query) => store.read(query),
    "documents.list": (query) => store.list(query),
    "documents.changes": (query) => store.changes(query),
    "documents.status": () => store.status(),
    async "documents.log"(query) {
      const batch = await store.log(query);
      // Cloning a view clones all of the buffer behind it; small Buffers share one of 8 KiB.
      return batch && { ...batch, bytes: new Uint8Array(batch.bytes) };
    },
    "documents.apply": (bytes) => store.apply(bytes),
    "documents.vector": () => store.vector(),
    "documents.observe": ({ vector, proof }) => store.observe(vector, proof),
    "documents.truncate": (limits) => store.truncate(limits),
    "documents.expire": (query) => store.expire(query),
    "documents.give": (query) => store.snapshots.give(query),
    "documents.take": (bytes) => store.snapshots.take(bytes),
    "documents.place": () => store.snapshots.place(),
    async "documents.clear"({ collections, ...query }) {
      const log = store.readLeaving(query);
      return log && gate.clear(log, collections);
    },
    async "documents.clearSnapshot"(query) {
      const piece = store.readLeavingSnapshot(query);
      return piece && gate.clearSnapshot(piece, query.collection);
    },
    "documents.close": () => store.close(),
  };
}

/** Requests that may wait for the thread. */
const waitingMax = 4096;

/** On the main thread. `close` closes the store in its thread; the thread itself is its owner's. */
export function connectDocumentStore<C = unknown>(
  thread: Pick<Thread<DocumentMethods<C>, DocumentEvents>, "call" | "on">,
  options: { node: string },
): DocumentStore & DocumentEgress<C> {
  let waiting = 0;
  const nothing = undefined as never;
  return {
    node: options.node,
    declare: (collections) => thread.call("documents.declare", collections),
    async write(writes, given = {}) {
      if (waiting >= waitingMax) return busy(`${waiting} requests`);
      waiting++;
      try {
        return await thread.call("documents.write", { writes, given });
      } finally {
        waiting--;
      }
    },
    read: (query) => thread.call("documents.read", query),
    list: (query) => thread.call("documents.list", query),
    changes: (query) => thread.call("documents.changes", query),
    status: () => thread.call("documents.status", nothing),
    log: (query) => thread.call("documents.log", query),
    apply(bytes) {
      // Of a Buffer, `slice` would be a view of the socket's memory.
      const copy = new Uint8Array(bytes);
      return thread.call("documents.apply", copy, { transfer: [copy.buffer] });
    },
    vector: () => thread.call("documents.vector", nothing),
    observe: (vector, proof) =>
      thread.call("documents.observe", { vector, ...(proof ? { proof } : {}) }),
    truncate: (limits) => thread.call("documents.truncate", limits),
    expire: (query) => thread.call("documents.expire", query),
    snapshots: {
      give: (query) => thread.call("documents.give", query),
      take(bytes) {
        const copy = new Uint8Array(bytes);
        return thread.call("documents.take", copy, { transfer: [copy.buffer] });
      },
      place: () => thread.call("documents.place", nothing),
    },
    clear: (query) => thread.call("documents.clear", query),
    clearSnapshot: (query) => thread.call("documents.clearSnapshot", query),
    on: (_event, listener) => thread.on("documents.grown", listener),
    close: () => thread.call("documents.close", nothing),
  };
}
