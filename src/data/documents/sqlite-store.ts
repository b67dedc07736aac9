/**
 * A node's documents in one SQLite file with one writer and group commit, `synchronous=FULL`. Runs in
 * the storage thread. Operation, documents and vector commit together; each opening begins a log of
 * its own (`streams/identity.ts`).
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { nameSuffix, type Random } from "../../lib/random.ts";
import { createSignals } from "../../lib/signals.ts";
import { closingOnFailure, createGroupCommit, openDatabase } from "../../runtime/sqlite/index.ts";
import { claimIdentity } from "../streams/claim.ts";
import { inodeOf, newIncarnation, writeMarker } from "../streams/identity.ts";
import { judge, observed, type Ask } from "../streams/put-back.ts";
import { refuse } from "../streams/refusal.ts";
import { checkWrites, unknownCollection } from "./check.ts";
import { createAges } from "./ages.ts";
import { createAgeTables } from "./age-tables.ts";
import { decodeOperations } from "./codec.ts";
import { createClaims } from "./claims.ts";
import { createEngine, type Rescued } from "./engine.ts";
import { createExpiry } from "./expiry.ts";
import { createHybridClock } from "./hybrid-clock.ts";
import { writeKeyOf, type WriteKey } from "./once.ts";
import { readOperation } from "./operation.ts";
import { createIndexing } from "./indexing.ts";
import { createReader } from "./reading.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot.ts";
import { isSnapshotFor, readSnapshot, snapshotAt, takeSnapshot } from "./snapshots.ts";
import { openTables } from "./sqlite-tables.ts";
import type {
  CollectionDeclaration,
  DocumentsGrown,
  DocumentWrite,
  LocalDocumentStore,
  WriteAnswer,
} from "./store.ts";
import { writeDocuments } from "./writing.ts";

export type DocumentStoreOptions = {
  readonly path: string;
  /** Name of this node; its origins start with it. */
  readonly node: string;
  /** The database file never grows past this; writes are then refused with `disk-full`. */
  readonly fileBytesMax?: number;
};

const batchBytesDefault = 256 * 1024;
/** Requests in one transaction: bounds the time that a commit blocks the thread. */
const worksMax = 256;
/** Failures of a write that are answers: nothing is wrong with the store, only with now. */
const refusals = new Set(["store-busy", "disk-full", "batch-too-large", "invalid-document"]);

/** Throws `store-damaged`, `store-newer`, `store-unavailable`, `disk-full` or `invalid-config`. */
export function openDocumentStore(
  deps: { clock: Clock; random: Random; log: Log },
  options: DocumentStoreOptions,
): LocalDocumentStore {
  const { clock, random, log } = deps;
  const { path, node } = options;
  const db = openDatabase(path, { fileBytesMax: options.fileBytesMax });
  const opened = () => {
    const tables = openTables(db, path);
    const topOf = (_: unknown, name: string) =>
      tables.origins().find((row) => row.name === name)?.stored ?? 0;
    const identity = claimIdentity(
      { db, clock, random, log },
      { path, node, what: "document store", topOf },
    );
    const hybrid = createHybridClock({ clock });
    const claims = createClaims(db);
    const engine = createEngine(
      { tables, clock: hybrid, log, claims },
      { origin: identity.origin, node },
    );
    return { tables, identity, hybrid, engine, claims };
  };
  const { tables, identity, hybrid, engine, claims } = closingOnFailure({ db, path }, opened);

  let declared: ReadonlyMap<string, CollectionDeclaration> = new Map();
  let grownVector = false;
  /** Own logs of which others had more. */
  const givenUp = new Set<string>();
  const signals = createSignals<{ grown: DocumentsGrown }>({
    onListenerError: (error) => log.error("a listener of the document store failed", { error }),
  });
  const writer = createGroupCommit(db, {
    path,
    rerunnable: true,
    worksMax,
    onCommit() {
      const collections = engine.documents.takeTouched();
      if (collections.length > 0 || grownVector)
        signals.emit("grown", { collections, vector: engine.vector() });
      grownVector = false;
      indexing.wake();
    },
    onRollback() {
      tables.forget();
      claims.forget();
      engine.forget();
      expiry.forget();
    },
  });
  if (tables.leftOut() !== undefined) {
    writer
      .write(() => engine.catchUp())
      .catch((error) => log.error("documents could not be made again from the log", { error }));
  }
  const reader = createReader({ tables, engine, view: identity.view });
  const indexing = createIndexing({ writer, tables, claims, documents: engine.documents, log });
  const requireCollection = (name: string) => {
    if (!declared.has(name) && !tables.knows(name))
      throw new SkerryError(unknownCollection(name, declared.keys()));
  };
  const writeNow = (
    request: readonly DocumentWrite[],
    options: { key?: WriteKey | undefined; isAgain?: boolean } = {},
  ): WriteAnswer => {
    const written = writeDocuments({ engine, tables }, request, { declared, ...options });
    if (written.state === "refused")
      return { state: "refused", ...written.complaint, retryable: false };
    const { changed, warnings, versions } = written;
    if (changed > 0 || options.key !== undefined) grownVector = true;
    return { state: "stored", changed, warnings, versions, cover: engine.applied() };
  };

  const writeAgain = ({ collection, id, body }: Rescued) =>
    writeNow(
      [{ collection, id, ...(body === undefined ? { do: "delete" } : { do: "put", body }) }],
      { isAgain: true },
    );
  const ageTables = createAgeTables(db, tables);
  const expiry = createExpiry({
    ages: createAges({ tables: ageTables, clock }),
    unchanged: (query) => ageTables.unchanged(query),
    state(collection, id) {
      const row = tables.document(collection, id);
      return row && engine.documents.read(row);
    },
    write: (request, { isOwn = false } = {}) =>
      writeNow(request, { isAgain: isOwn }).state === "stored",
    monotonicMs: () => clock.monotonicMs(),
  });
  const compareOperations = ({ origin, from }: Ask, piece: Uint8Array) => {
    const theirs = decodeOperations(piece);
    if (theirs.origin !== origin || theirs.from !== from) return "nothing";
    const [mine] = engine.texts({ origin, from, bytesMax: 1 })?.texts ?? [];
    // Forgotten here: everybody had it.
    if (mine === undefined && from <= engine.own.floor) return "nothing";
    return mine === theirs.texts[0] ? "same" : "other";
  };
  let { view } = identity;

  const store: LocalDocumentStore = {
    node,
    async declare(collections) {
      declared = new Map(collections.map((collection) => [collection.name, collection]));
      await indexing.declare(collections);
    },
    async write(request, options = {}) {
      const refused = refuse(checkWrites(request, options.key, declared));
      if (refused) return refused;
      try {
        const key = writeKeyOf(options, request);
        return await writer.write(() => writeNow(request, { key }));
      } catch (error) {
        if (error instanceof SkerryError && refusals.has(error.code)) {
          const { code, message, hint, retryable } = error;
          return { state: "refused", code, message, retryable, ...(hint ? { hint } : {}) };
        }
        throw error;
      }
    },
    async read({ collection, id }) {
      requireCollection(collection);
      return reader.read(collection, id);
    },
    async list(query) {
      requireCollection(query.collection);
      return reader.list(query);
    },
    async changes(query) {
      requireCollection(query.collection);
      return reader.changes(query);
    },
    async status() {
      const counted = new Map(tables.counts().map((row) => [row.name, row]));
      const names = [...new Set([...declared.keys(), ...counted.keys()])].sort();
      return {
        origin: engine.own.name,
        vector: engine.vector(),
        collections: names.map(
          (name) => counted.get(name) ?? { name, documents: 0, conflicted: 0 },
        ),
        waiting: engine.waiting,
        logBytes: engine.logBytes,
        clockAheadMs: hybrid.aheadMs(),
      };
    },
    async log({ bytesMax = batchBytesDefault, ...query }) {
      return engine.log({ ...query, bytesMax });
    },
    readLeaving({ bytesMax = batchBytesDefault, to = Infinity, ...query }) {
      const piece = engine.texts({ ...query, bytesMax });
      if (!piece) return undefined;
      const { origin, from, texts } = piece;
      const operations = texts.slice(0, to - from + 1).map(readOperation);
      const end = from + operations.length - 1;
      return { origin, from, to: end, operations, vector: engine.vector() };
    },
    readLeavingSnapshot({ bytesMax = batchBytesDefault, ...query }) {
      if (engine.isBehindLog) return undefined;
      return readSnapshot({ engine, tables }, view, { ...query, bytesMax });
    },
    apply: (bytes) =>
      writer.write(() => {
        const answer = engine.take(bytes);
        if (answer.stored > 0) grownVector = true;
        return { ...answer, vector: engine.vector() };
      }),
    async vector() {
      return engine.vector();
    },
    async observe(told, proof) {
      const { name, stored: top, floor } = engine.own;
      const verdict = judge({ name, top, floor }, told, proof, compareOperations);
      if (verdict.state === "fine") return observed(name, givenUp, { rotated: false });
      if (verdict.state === "ask")
        return observed(name, givenUp, { rotated: false, ask: verdict.ask });
      const { same } = verdict;
      const origin = `${node}.${newIncarnation(random, clock.wallMs())}`;
      // Who was being given documents begins anew.
      const renewed = nameSuffix(random, 8);
      const rotated = await writer.write(() => {
        // Another peer may have shown it meanwhile.
        if (engine.own.name !== name) return false;
        const isForgotten = proof?.state === "forgotten";
        engine.rotate(origin, { same, isForgotten, write: writeAgain });
        tables.setView(renewed);
        givenUp.add(name);
        return true;
      });
      if (!rotated) return observed(engine.own.name, givenUp, { rotated });
      view = renewed;
      log.error("others have more of this store's log than the store itself: it was put back", {
        origin: name,
        now: origin,
        top,
        same,
        theirTop: told[name],
      });
      return observed(origin, givenUp, { rotated });
    },
    truncate: (limits) => writer.write(() => engine.truncate(limits)),
    expire: (query) => writer.write(() => expiry.step(declared.values(), query)),
    snapshots: {
      async give({ after, ...wish }) {
        if (!isSnapshotFor(engine, wish)) return undefined;
        const query = { after, bytesMax: batchBytesDefault };
        return encodeSnapshot(readSnapshot({ engine, tables }, view, query));
      },
      async take(bytes) {
        const piece = decodeSnapshot(bytes);
        return writer.write(() => {
          const taken = takeSnapshot({ engine, tables }, piece);
          if (taken.state !== "adopted") return taken;
          grownVector = true;
          const rescued = tables.rescued();
          tables.setRescued(undefined);
          if (rescued !== undefined)
            for (const document of JSON.parse(rescued) as Rescued[]) writeAgain(document);
          return taken;
        });
      },
      async place() {
        const at = snapshotAt(tables);
        const floors = engine.floors();
        return { isNeeded: engine.isBehindLog, floors, ...(at ? { at } : {}) };
      },
    },
    on: (event, listener) => signals.on(event, listener),
    async close() {
      await writer.close();
      const { stored } = engine.own;
      writeMarker(path, { token: identity.token, inode: inodeOf(path), top: stored });
    },
  };
  return store;
}
