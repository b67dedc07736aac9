/** The two halves of a hub's store that lives in a thread of its own. */
import type { Thread } from "../../runtime/thread/index.ts";
import { pack, unpack, type PackedEntries } from "../batch/packed.ts";
import type { StoredEntry } from "../../api/index.ts";
import type { ApplyAnswer, Vector } from "../streams/store.ts";
import type { GlobalGrown, GlobalQuery, GlobalStore, GlobalStreamStatus } from "./store.ts";

export type GlobalMethods = {
  "global.ingest"(batch: {
    readonly cell: string;
    readonly bytes: Uint8Array;
  }): Promise<ApplyAnswer>;
  "global.vector"(cell: string): Promise<Vector>;
  "global.read"(query: GlobalQuery): Promise<{
    readonly page: PackedEntries;
    readonly cells: readonly string[];
    readonly cursor: string;
    readonly more: boolean;
  }>;
  "global.streams"(cell: string | undefined): Promise<readonly GlobalStreamStatus[]>;
  "global.retain"(): Promise<{ readonly removed: number }>;
  "global.close"(): Promise<void>;
};
export type GlobalEvents = { "global.grown": readonly GlobalGrown[] };

/** In the thread: what `serveThread` is to offer. */
export function serveGlobalStore(
  store: GlobalStore,
  emit: (name: "global.grown", event: readonly GlobalGrown[]) => void,
): GlobalMethods {
  store.on("grown", (grown) => emit("global.grown", grown));
  return {
    "global.ingest": ({ cell, bytes }) => store.ingest(cell, bytes),
    "global.vector": (cell) => store.vector(cell),
    async "global.read"(query) {
      const { entries, cursor, more } = await store.read(query);
      const packable = entries.map((entry) => ({
        ...entry,
        id: Number(entry.cursor.slice(entry.cursor.indexOf(".") + 1)),
      }));
      return { page: pack(packable), cells: entries.map(({ cell }) => cell), cursor, more };
    },
    "global.streams": (cell) => store.streams(cell),
    "global.retain": () => store.retain(),
    "global.close": () => store.close(),
  };
}

/** On the main thread. `close` closes the store in its thread; the thread itself is its owner's. */
export function connectGlobalStore(
  thread: Pick<Thread<GlobalMethods, GlobalEvents>, "call" | "on">,
): GlobalStore {
  return {
    ingest(cell, bytes) {
      const copy = new Uint8Array(bytes);
      return thread.call("global.ingest", { cell, bytes: copy }, { transfer: [copy.buffer] });
    },
    vector: (cell) => thread.call("global.vector", cell),
    async read(query) {
      const { page, cells, cursor, more } = await thread.call("global.read", query);
      const view = cursor.slice(0, cursor.indexOf("."));
      const entries = unpack(page).map(({ id, ...entry }, index) => ({
        ...(entry as StoredEntry),
        cell: cells[index] ?? "",
        cursor: `${view}.${id}`,
      }));
      return { entries, cursor, more };
    },
    streams: (cell) => thread.call("global.streams", cell),
    retain: () => thread.call("global.retain", undefined as never),
    on: (_event, listener) => thread.on("global.grown", listener),
    close: () => thread.call("global.close", undefined as never),
  };
}
