/**
 * A store of documents in memory for the simulation: the real engine on tables with transactions that
 * can be cut off at any single write, as by a power cut.
 */
import { SkerryError } from "../../../lib/errors.ts";
import { silentLog } from "../../../lib/log.ts";
import { createSignals } from "../../../lib/signals.ts";
import type { Clock } from "../../../lib/clock.ts";
import { nameSuffix, type Random } from "../../../lib/random.ts";
import type { CollectionDeclaration, DocumentWrite, Vector } from "../../../data/index.ts";
import {
  createAges,
  createEngine,
  createExpiry,
  createHybridClock,
  decodeSnapshot,
  encodeSnapshot,
  isSnapshotFor,
  readOperation,
  readSnapshot,
  snapshotAt,
  takeSnapshot,
  writeDocuments,
  type AgeMark,
  type AgeTables,
  type DocumentRow,
  type DocumentTables,
  type Engine,
  type Expired,
  type ExpireQuery,
  type LoggedOperation,
  type OriginRow,
  type StagedRow,
  type ReplicatedSnapshots,
  type ReplicatedStore,
  type TruncateLimits,
  type Truncated,
  type Written,
} from "../../../data/inside/index.ts";

export const powerCut = () => new SkerryError({ code: "closed", message: "the power was cut" });

type SavedOrigin = Omit<OriginRow, "seen">;

export type MemoryTables = DocumentTables &
  AgeTables & {
    begin(): void;
    commit(): void;
    rollback(): void;
    /** The power goes after this many more writes; undefined: it stays. */
    cutAfter: number | undefined;
    readonly documents: ReadonlyMap<string, DocumentRow>;
    /** What no store may do: the end of a log is gone. */
    loseLast(origin: string): void;
  };

/** Every operation that was ever committed, by origin, in order: what stores forget is known here. */
export type Archive = Map<string, LoggedOperation[]>;

export function createMemoryTables(archive: Archive = new Map()): MemoryTables {
  const origins = new Map<number, SavedOrigin>();
  const seen = new Map<string, number>();
  const operations = new Map<string, string>();
  const documents = new Map<string, DocumentRow>();
  const keys = new Map<string, true>();
  const meta = new Map<string, string>();
  const marks = new Map<number, AgeMark>();
  const staged = new Map<string, StagedRow>();
  const stagedKeys = new Map<string, true>();
  let undo: (() => void)[] = [];
  let added: (LoggedOperation & { origin: string })[] = [];
  const at = ({ collection, id }: Pick<StagedRow, "collection" | "id">) => `${collection}/${id}`;
  const operationsOf = (id: number) =>
    [...operations]
      .filter(([key]) => key.startsWith(`${id}/`))
      .map(([key, text]) => ({ key, sequence: Number(key.slice(key.indexOf("/") + 1)), text }));
  const remove = (found: readonly { readonly key: string; readonly text: string }[]) => {
    for (const { key } of found) put(operations, key, undefined);
    return found.reduce((sum, { text }) => sum + text.length, 0);
  };

  /** Every change of a table goes through here, so that it can be undone, or be the last one. */
  const put = <K, V>(table: Map<K, V>, key: K, value: V | undefined) => {
    if (tables.cutAfter !== undefined && tables.cutAfter-- <= 0) throw powerCut();
    const had = table.has(key);
    const before = table.get(key) as V;
    undo.push(() => void (had ? table.set(key, before) : table.delete(key)));
    if (value === undefined) table.delete(key);
    else table.set(key, value);
  };

  const tables: MemoryTables = {
    cutAfter: undefined,
    documents,
    begin() {
      undo = [];
      added = [];
    },
    commit() {
      undo = [];
      for (const { origin, sequence, text } of added) {
        const log = archive.get(origin) ?? [];
        log[sequence - 1] = { sequence, text };
        archive.set(origin, log);
      }
      added = [];
    },
    rollback() {
      added = [];
      for (const step of undo.reverse()) step();
      undo = [];
    },
    loseLast(name) {
      const row = [...origins.values()].find((each) => each.name === name);
      if (!row || row.stored === 0) return;
      operations.delete(`${row.id}/${row.stored}`);
      origins.set(row.id, { ...row, stored: row.stored - 1, applied: row.applied - 1 });
    },
    origins: () =>
      [...origins.values()].map((row) => ({
        ...row,
        seen: new Map(
          [...seen]
            .map(([key, upto]) => [...key.split(" "), upto] as [string, string, number])
            .filter(([id]) => id === String(row.id))
            .map(([, other, upto]) => [other, upto]),
        ),
      })),
    addOrigin(name) {
      const row = { id: origins.size + 1, name, stored: 0, applied: 0, hlc: 0, floor: 0, bytes: 0 };
      put(origins, row.id, row);
      return { ...row, seen: new Map() };
    },
    saveOrigin({ id, name, stored, applied, hlc, floor, bytes }) {
      put(origins, id, { id, name, stored, applied, hlc, floor, bytes });
    },
    saveSeen: ({ id }, other, upto) => put(seen, `${id} ${other}`, upto),
    addOperation({ id, name }, { sequence, text }) {
      put(operations, `${id}/${sequence}`, text);
      added.push({ origin: name, sequence, text });
    },
    operations({ id }, from, bytesMax) {
      const found: LoggedOperation[] = [];
      let sequence = from;
      // At the hub one may cover several positions.
      while (sequence > 1 && !operations.has(`${id}/${sequence}`)) sequence--;
      for (let bytes = 0; bytes < bytesMax;) {
        const text = operations.get(`${id}/${sequence}`);
        if (text === undefined) break;
        found.push({ sequence, text });
        bytes += text.length;
        sequence += readOperation(text).covers ?? 1;
      }
      return found;
    },
    dropOperations: ({ id }, after) =>
      remove(operationsOf(id).filter(({ sequence }) => sequence > after)),
    forgetOperations({ id }, until, rowsMax) {
      const found = operationsOf(id)
        .filter(({ sequence }) => sequence <= until)
        .sort((a, b) => a.sequence - b.sequence)
        .slice(0, rowsMax);
      return { upto: found.at(-1)?.sequence ?? 0, bytes: remove(found) };
    },
    document: (collection, id) => documents.get(`${collection}/${id}`),
    saveDocument: (row) => put(documents, `${row.collection}/${row.id}`, row),
    lastChange: () => Math.max(0, ...documents.values().map(({ change }) => change)),
    collections: () => [...new Set(documents.values().map(({ collection }) => collection))],
    changes: ({ collection, since, limit }) =>
      [...documents.values()]
        .filter((row) => row.collection === collection && row.change > since)
        .sort((a, b) => a.change - b.change)
        .slice(0, limit),
    stage: (row) => put(staged, at(row), row),
    staged: (limit) => [...staged.values()].slice(0, limit),
    unstage: (row) => put(staged, at(row), undefined),
    stageKey: (key) => put(stagedKeys, key, true),
    adoptKeys() {
      for (const key of [...stagedKeys.keys()]) {
        put(keys, key, true);
        put(stagedKeys, key, undefined);
      }
    },
    clearStaged() {
      for (const key of [...staged.keys()]) put(staged, key, undefined);
      for (const key of [...stagedKeys.keys()]) put(stagedKeys, key, undefined);
    },
    stagedAt: () => meta.get("staged"),
    setStagedAt: (text) => put(meta, "staged", text),
    keys: (after, limit) =>
      [...keys.keys()].map((key, index) => ({ at: index + 1, key })).slice(after, after + limit),
    rescued: () => meta.get("rescued"),
    setRescued: (text) => put(meta, "rescued", text),
    hasKey: (key) => keys.has(key),
    keyOf: (id) => keys.keys().find((key) => key.startsWith(`${id}.`)),
    addKey: (key) => put(keys, key, true),
    clearDocuments() {
      for (const key of [...documents.keys()]) put(documents, key, undefined);
      for (const key of [...seen.keys()]) put(seen, key, undefined);
    },
    ageMarks: () => [...marks.values()].sort((a, b) => a.firstChange - b.firstChange),
    addAgeMark: (mark) => put(marks, mark.firstChange, mark),
    dropAgeMark: ({ firstChange }) => put(marks, firstChange, undefined),
    storeAgeMs: () => Number(meta.get("age") ?? 0),
    setStoreAgeMs: (ageMs) => put(meta, "age", String(ageMs)),
    own: () => meta.get("origin"),
    setOwn: (origin) => put(meta, "origin", origin),
    leftOut: () => meta.get("left out"),
    setLeftOut: (known) => put(meta, "left out", known),
  };
  return tables;
}

export type MemoryStore = ReplicatedStore & {
  readonly snapshots: ReplicatedSnapshots;
  truncate(limits: TruncateLimits): Promise<Truncated>;
  expire(query: ExpireQuery): Promise<Expired>;
  readonly engine: Engine;
  /** Undefined: the power was cut after the commit, before the answer. */
  write(request: readonly DocumentWrite[], cutBeforeAnswer: boolean): Written | undefined;
  /** What is called after it finds the power gone. */
  close(): void;
};

/** A start after a power cut: under a new incarnation, as the marker file would have it (D7). */
export function openMemoryStore(
  deps: { tables: MemoryTables; clock: Clock; random: Random; onPowerCut: () => void },
  options: { node: string; collections: readonly CollectionDeclaration[]; awayMs?: number },
): MemoryStore {
  const { tables, clock, random } = deps;
  const declared = new Map(options.collections.map((each) => [each.name, each]));
  const origin = `${options.node}.${nameSuffix(random, 6)}`;
  tables.cutAfter = undefined;
  tables.begin();
  tables.setOwn(origin);
  const engine = createEngine(
    { tables, clock: createHybridClock({ clock }), log: silentLog },
    { origin, node: options.node },
  );
  tables.commit();
  const expiry = createExpiry(
    {
      ages: createAges({ tables, clock }),
      unchanged: ({ collection, since, below, limit }) =>
        tables
          .changes({ collection, since, limit })
          .filter(({ change }) => change < below)
          .map(({ id, change, body }) => ({ id, change, isThere: body !== null })),
      state(collection, id) {
        const row = tables.document(collection, id);
        return row && engine.documents.read(row);
      },
      write: (request, { isOwn = false } = {}) =>
        writeDocuments({ engine, tables }, request, { declared, isAgain: isOwn }).state ===
        "written",
      monotonicMs: () => clock.monotonicMs(),
    },
    options,
  );
  let isOpen = true;
  const signals = createSignals<{ grown: { vector: Vector } }>({
    onListenerError: (error) => {
      throw error;
    },
  });
  const transaction = <T>(work: () => T): T => {
    if (!isOpen) throw powerCut();
    tables.begin();
    try {
      const result = work();
      tables.commit();
      return result;
    } catch (error) {
      tables.rollback();
      isOpen = false;
      if (error instanceof SkerryError && error.code === "closed") deps.onPowerCut();
      throw error;
    }
  };
  const grown = () => signals.emit("grown", { vector: engine.vector() });
  return {
    engine,
    write(request, cutBeforeAnswer) {
      const written = transaction(() => writeDocuments({ engine, tables }, request, { declared }));
      if (cutBeforeAnswer) {
        isOpen = false;
        deps.onPowerCut();
        return undefined;
      }
      grown();
      return written;
    },
    async truncate(limits) {
      return transaction(() => engine.truncate(limits));
    },
    async expire(query) {
      const expired = transaction(() => expiry.step(declared.values(), query));
      if (Object.keys(expired.deleted).length + expired.cleared > 0) grown();
      return expired;
    },
    snapshots: {
      async give({ after, ...query }) {
        const isWanted = isOpen && isSnapshotFor(engine, query);
        if (!isWanted) return undefined;
        return encodeSnapshot(readSnapshot({ engine, tables }, origin, { after, bytesMax: 300 }));
      },
      async take(bytes) {
        const taken = transaction(() => takeSnapshot({ engine, tables }, decodeSnapshot(bytes)));
        if (taken.state === "adopted") grown();
        return taken;
      },
      async place() {
        const at = snapshotAt(tables);
        const floors = engine.floors();
        return { isNeeded: engine.isBehindLog, floors, ...(at ? { at } : {}) };
      },
    },
    async log({ bytesMax = 300, ...query }) {
      return isOpen ? engine.log({ ...query, bytesMax }) : undefined;
    },
    async apply(bytes) {
      const answer = transaction(() => engine.take(bytes));
      if (answer.stored > 0) grown();
      return answer;
    },
    async vector() {
      return engine.vector();
    },
    async observe() {
      return { origin: engine.own.name, rotated: false };
    },
    on: (event, listener) => signals.on(event, listener),
    close() {
      isOpen = false;
    },
  };
}
