/**
 * The two halves of a store that lives in the storage thread. Appends of one tick cross as one
 * message; few messages are under way at a time, so that what waits, waits here, where it is counted
 * and refused with `store-busy` before memory runs out.
 */
import type { EntryInput } from "../../api/index.ts";
import { decodeError, encodeError, type EncodedError } from "../../lib/errors.ts";
import type { Thread } from "../../runtime/thread/index.ts";
import { pack, unpack, type PackedEntries } from "../batch/packed.ts";
import type { ClearedLog, Egress, Gate } from "../ports.ts";
import { checkRequest } from "./check.ts";
import type {
  AppendAnswer,
  ApplyAnswer,
  Beyond,
  EncodedBatch,
  Grown,
  LocalStreamStore,
  LogQuery,
  ReadQuery,
  StoreStatus,
  StreamDeclaration,
  StreamStore,
  Vector,
} from "./store.ts";
import type { CopyQuery, Damage, RestoreAnswer, SegmentRepairs } from "./repairs.ts";
import { connectGroups, serveGroups, type GroupMethods } from "./groups/thread.ts";
import type { Observed, Proof } from "./put-back.ts";
import { packableOf, readEntries } from "./packing.ts";
import { busy, refuse, watchLate } from "./refusal.ts";

type Settled = AppendAnswer | { readonly state: "failed"; readonly error: EncodedError };
type PackedPage = { readonly page: PackedEntries; readonly cursor: string; readonly more: boolean };

export type StreamMethods<C = unknown> = GroupMethods & {
  "data.streams"(declarations: readonly StreamDeclaration[]): Promise<void>;
  "data.append"(batch: {
    readonly counts: readonly number[];
    readonly packed: PackedEntries;
  }): Promise<readonly Settled[]>;
  "data.read"(query: ReadQuery): Promise<PackedPage>;
  "data.status"(): Promise<StoreStatus>;
  "data.log"(query: LogQuery): Promise<EncodedBatch | undefined>;
  "data.apply"(bytes: Uint8Array): Promise<ApplyAnswer>;
  "data.vector"(): Promise<Vector>;
  "data.beyond"(query: Parameters<StreamStore["beyond"]>[0]): Promise<Beyond>;
  "data.lanes"(): Promise<Vector>;
  "data.account"(account: string | undefined): Promise<string | undefined>;
  "data.expectHub"(): Promise<void>;
  "data.markHub"(vector: Vector): Promise<void>;
  "data.observe"(told: { readonly vector: Vector; readonly proof?: Proof }): Promise<Observed>;
  "data.retain"(): Promise<{ readonly removed: number }>;
  "data.clear"(query: LogQuery): Promise<ClearedLog<C> | undefined>;
  "data.damage"(): Promise<readonly Damage[]>;
  "data.copy"(query: CopyQuery): Promise<Uint8Array>;
  "data.restore"(given: Parameters<SegmentRepairs["restore"]>[0]): Promise<RestoreAnswer>;
  "data.giveUp"(segment: number): Promise<void>;
  "data.close"(): Promise<void>;
};
export type StreamEmit = <Name extends keyof StreamEvents>(
  name: Name,
  event: StreamEvents[Name],
) => void;
export type StreamEvents = { "data.grown": Grown; "data.damaged": Damage };

/** In the storage thread: what `serveThread` is to offer. */
export function serveStreamStore<C>(
  deps: { store: LocalStreamStore; gate: Gate<C> },
  emit: StreamEmit,
): StreamMethods<C> {
  const { store, gate } = deps;
  store.on("grown", (grown) => emit("data.grown", grown));
  store.repairs.on("damaged", (damage) => emit("data.damaged", damage));
  return {
    async "data.streams"(declarations) {
      gate.setPolicies(
        Object.fromEntries(
          declarations.flatMap(({ name, egress }) => (egress ? [[name, egress]] : [])),
        ),
      );
      await store.setStreams(declarations);
    },
    async "data.append"({ counts, packed }) {
      const entries = unpack(packed);
      let start = 0;
      const answers = counts.map((count) => store.append(entries.slice(start, (start += count))));
      return (await Promise.allSettled(answers)).map((result) =>
        result.status === "fulfilled"
          ? result.value
          : { state: "failed", error: encodeError(result.reason) },
      );
    },
    async "data.read"(query) {
      const { entries, cursor, more } = await store.read(query);
      return { page: pack(entries.map(packableOf)), cursor, more };
    },
    "data.status": () => store.status(),
    async "data.log"(query) {
      const batch = await store.log(query);
      return batch && { ...batch, bytes: ownBuffer(batch.bytes) };
    },
    "data.apply": (bytes) => store.apply(bytes),
    "data.vector": () => store.vector(),
    "data.beyond": (query) => store.beyond(query),
    "data.lanes": () => store.lanes(),
    async "data.account"(account) {
      if (account !== undefined) await store.account.write(account);
      return await store.account.read();
    },
    "data.expectHub": () => store.expectHub(),
    "data.markHub": (vector) => store.markHub(vector),
    "data.observe": ({ vector, proof }) => store.observe(vector, proof),
    "data.retain": () => store.retain(),
    async "data.clear"(query) {
      const batch = store.readLeaving(query);
      return batch && gate.clear(batch);
    },
    "data.damage": () => store.repairs.damage(),
    "data.copy": async (query) => ownBuffer(await store.repairs.copy(query)),
    "data.restore": (given) => store.repairs.restore(given),
    "data.giveUp": (segment) => store.repairs.giveUp(segment),
    "data.close": () => store.close(),
    ...serveGroups(store.groups),
  };
}

export type ConnectOptions = {
  readonly node: string;
  /** Entries that may wait here for the thread. Default 100,000. */
  readonly waitingEntriesMax?: number;
  /** Bytes of bodies that may wait here. Default 64 MiB. */
  readonly waitingBytesMax?: number;
};

/** Messages with appends under way; more would only queue in the other thread, uncounted. */
const inFlightMax = 3;
/** In one message: what the other thread may be busy with before it looks up. */
const messageEntriesMax = 5000;

type WaitingAppend = {
  readonly entries: readonly EntryInput[];
  readonly bytes: number;
  readonly resolve: (answer: AppendAnswer) => void;
  readonly reject: (error: unknown) => void;
};

/** On the main thread. `close` closes the store in its thread; the thread itself is its owner's. */
export function connectStreamStore<C = unknown>(
  thread: Pick<Thread<StreamMethods<C>, StreamEvents>, "call" | "on">,
  options: ConnectOptions,
): StreamStore & Egress<C> {
  const waitingEntriesMax = options.waitingEntriesMax ?? 100_000;
  const waitingBytesMax = options.waitingBytesMax ?? 64 * 1024 * 1024;
  let declared = new Map<string, StreamDeclaration>();
  let waiting: WaitingAppend[] = [];
  let [waitingEntries, waitingBytes, inFlight] = [0, 0, 0];
  let scheduled = false;

  const schedule = () => {
    if (scheduled || inFlight >= inFlightMax || waiting.length === 0) return;
    scheduled = true;
    setImmediate(flush);
  };

  const takeMessage = (): WaitingAppend[] => {
    let entries = 0;
    const end = waiting.findIndex((item) => (entries += item.entries.length) > messageEntriesMax);
    const taken = end < 0 ? waiting : waiting.slice(0, Math.max(1, end));
    waiting = end < 0 ? [] : waiting.slice(taken.length);
    return taken;
  };

  const flush = () => {
    scheduled = false;
    const taken = takeMessage();
    const packed = pack(taken.flatMap(({ entries }) => entries));
    inFlight++;
    thread
      .call(
        "data.append",
        { counts: taken.map(({ entries }) => entries.length), packed },
        { transfer: [packed.numbers.buffer, packed.bodies.buffer] },
      )
      .then(
        (answers) => {
          for (const [index, item] of taken.entries()) {
            const answer = answers[index];
            if (!answer || answer.state === "failed")
              item.reject(decodeError(answer?.error ?? encodeError(new Error("no answer"))));
            else item.resolve(answer);
          }
        },
        (error) => {
          for (const item of taken) item.reject(error);
        },
      )
      .finally(() => {
        inFlight--;
        for (const { entries, bytes } of taken) {
          waitingEntries -= entries.length;
          waitingBytes -= bytes;
        }
        schedule();
      });
    schedule();
  };

  const refuseWhenFull = (entries: readonly EntryInput[]) =>
    waitingEntries + entries.length > waitingEntriesMax ||
    waitingBytes + bytesOf(entries) > waitingBytesMax
      ? busy(`${waitingEntries} entries`)
      : undefined;

  const enqueue = (entries: readonly EntryInput[]): Promise<AppendAnswer> => {
    const bytes = bytesOf(entries);
    waitingEntries += entries.length;
    waitingBytes += bytes;
    return new Promise((resolve, reject) => {
      waiting.push({ entries, bytes, resolve, reject });
      schedule();
    });
  };

  const store: StreamStore & Egress<C> = {
    node: options.node,
    groups: connectGroups(thread),
    account: {
      read: () => thread.call("data.account", undefined),
      write: async (account) => void (await thread.call("data.account", account)),
    },
    repairs: {
      damage: () => thread.call("data.damage", undefined as never),
      copy: (query) => thread.call("data.copy", query),
      restore: (given) => thread.call("data.restore", given),
      giveUp: (segment) => thread.call("data.giveUp", segment),
      on: (_event, listener) => thread.on("data.damaged", listener),
    },
    async setStreams(declarations) {
      await thread.call("data.streams", declarations);
      declared = new Map(declarations.map((declaration) => [declaration.name, declaration]));
    },
    check: (entries) => refuse(checkRequest(entries, declared)),
    append(entries) {
      const refused = store.check(entries) ?? refuseWhenFull(entries);
      return refused ? Promise.resolve(refused) : enqueue(entries);
    },
    offer(entries, onLate) {
      const refused = store.check(entries) ?? refuseWhenFull(entries);
      if (!refused) watchLate(enqueue(entries), onLate);
      return refused;
    },
    async read(query) {
      const { page, cursor, more } = await thread.call("data.read", query);
      const view = cursor.slice(0, cursor.indexOf("."));
      return { entries: readEntries(page, view), cursor, more };
    },
    status: () => thread.call("data.status", undefined as never),
    log: (query) => thread.call("data.log", query),
    apply(bytes) {
      // Of a Buffer, `slice` would be a view of the socket's memory.
      const copy = new Uint8Array(bytes);
      return thread.call("data.apply", copy, { transfer: [copy.buffer] });
    },
    vector: () => thread.call("data.vector", undefined as never),
    beyond: (query) => thread.call("data.beyond", query),
    lanes: () => thread.call("data.lanes", undefined as never),
    expectHub: () => thread.call("data.expectHub", undefined as never),
    markHub: (vector) => thread.call("data.markHub", vector),
    observe: (vector, proof) =>
      thread.call("data.observe", { vector, ...(proof ? { proof } : {}) }),
    retain: () => thread.call("data.retain", undefined as never),
    clear: (query) => thread.call("data.clear", query),
    on: (_event, listener) => thread.on("data.grown", listener),
    close: () => thread.call("data.close", undefined as never),
  };
  return store;
}

/** Cloning a view clones all of the buffer behind it; small Buffers share one of 8 KiB. */
function ownBuffer(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}

const bytesOf = (entries: readonly EntryInput[]) =>
  entries.reduce((sum, { body }) => sum + body.length, 0);
