/**
 * A node's streams in one SQLite file with one writer and group commit, `synchronous=FULL`. Runs in
 * the storage thread. Each opening begins a log of its own (`identity.ts`).
 */
import type { EntryInput } from "../../api/index.ts";
import { every, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { createSignals } from "../../lib/signals.ts";
import {
  closingOnFailure,
  createGroupCommit,
  createRelief,
  logPagesWith,
  openDatabase,
  withBallast,
  type Ballast,
} from "../../runtime/sqlite/index.ts";
import { decodeColumns, encodeBatch } from "../batch/codec.ts";
import { createArrivals } from "../tables/arrivals.ts";
import { createBacklog } from "../tables/backlog.ts";
import type { StreamRow } from "../tables/names.ts";
import { contentTables, prepareTables } from "../tables/schema.ts";
import { createTables } from "../tables/tables.ts";
import { createBeyond } from "./beyond.ts";
import { checkBody, checkRequest, type Complaint } from "./check.ts";
import { createAccount } from "./account.ts";
import { claimIdentity } from "./claim.ts";
import { inodeOf, newIncarnation, writeMarker } from "./identity.ts";
import { busy, refuse, refusing, watchLate } from "./refusal.ts";
import { createGroupTable } from "./groups/group-table.ts";
import { createGroups } from "./groups/sqlite-groups.ts";
import { markHub } from "./hub-mark.ts";
import { createLeaving } from "./leaving.ts";
import { createMerge } from "./merge.ts";
import { judge, observed, type Ask } from "./put-back.ts";
import { compareShown } from "./shown.ts";
import { createReading } from "./reading.ts";
import { createShedding } from "./shedding.ts";
import { storeStatus } from "./store-status.ts";
import { startScrub, type ScrubOptions } from "./scrub.ts";
import { createSegmentRepairs } from "./sqlite-repairs.ts";
import {
  sealedBytesMax,
  sealedEntriesMax,
  startSealer,
  type SealingBounds,
  type SealingOptions,
} from "./sealer.ts";
import {
  hasLane,
  type Grown,
  type LocalStreamStore,
  type Refused,
  type StreamDeclaration,
} from "./store.ts";

export type StreamStoreOptions = {
  readonly path: string;
  /** Name of this node; its origins start with it. */
  readonly node: string;
  /** For streams that declare no size. Default 1 GiB. */
  readonly streamBytesMax?: number;
  /** The database file never grows past this; writes are then refused with `disk-full`. */
  readonly fileBytesMax?: number;
  /** Given up when the disk is full, so that room can be made; it is made, and made again, by this store. */
  readonly ballast?: Ballast | undefined;
  /** Default 10 seconds. */
  readonly retentionPeriodMs?: number;
  readonly sealing?: SealingOptions;
  readonly scrub?: ScrubOptions;
};

const scope = "";
const gigabyte = 2 ** 30;
/** 16 MiB: with 10,000 entries/s they fill in 2 s. */
const logPages = 4000;
/** How long the log towards the hub waits for the declaration of a stream that has entries. */
const undeclaredGraceMs = 30_000;
/** Default limits must not cut a stream whose own, larger limits have not come yet. */
const undeclaredKeepMs = 3_600_000;
const waitingBytesMax = 64 * 1024 * 1024;

/** Throws `store-damaged`, `store-newer`, `store-unavailable`, `disk-full` or `invalid-config`. */
export function openStreamStore(
  deps: { clock: Clock; random: Random; log: Log; openFile?: typeof openDatabase },
  options: StreamStoreOptions,
): LocalStreamStore {
  const { clock, random, log, openFile = openDatabase } = deps;
  const { path, node } = options;
  const { fileBytesMax, ballast } = options;
  const db = openFile(path, {
    logPages: ballast ? logPagesWith(ballast, logPages) : logPages,
    uncheckedTables: contentTables,
    fileBytesMax,
  });
  const repairs = createSegmentRepairs(
    { log, writer: () => writer, tables: () => tables },
    { scope },
  );
  let declared = new Map<string, StreamDeclaration>();
  let declaredOnce = false;
  const boundsOf = ({ name }: StreamRow): SealingBounds => {
    const { ageMs, bytesMax } = declared.get(name)?.retention ?? {};
    return { ageMs, bytesMax: bytesMax ?? options.streamBytesMax ?? gigabyte };
  };
  const knownBoundsOf = (stream: StreamRow) => (declaredOnce ? boundsOf(stream) : undefined);
  const entriesMax = options.sealing?.entriesMax ?? sealedEntriesMax;
  const opened = () => {
    prepareTables(db, path);
    const identity = claimIdentity({ db, clock, random, log }, { path, node });
    const tables = createTables({ clock, db, onDamaged: repairs.found });
    const backlog = createBacklog(db, tables);
    const arrivals = createArrivals(db, tables, {
      boundsOf: knownBoundsOf,
      sealedMin: Math.ceil(entriesMax / 2),
      entriesMax,
      bytesMax: options.sealing?.bytesMax ?? sealedBytesMax,
    });
    const merge = createMerge({ clock, db }, { ...tables, backlog, arrivals }, identity.origin);
    return { identity, tables, backlog, merge };
  };
  const { identity, tables, backlog, merge } = closingOnFailure({ db, path }, opened);
  const { names, lanes, entries, retention, segments } = tables;
  const groupTable = createGroupTable(db);
  const beyond = createBeyond(db, tables, scope);
  const openedMs = clock.monotonicMs();
  let waitingBytes = 0;
  /** Own logs of which others had more. */
  const givenUp = new Set<string>();
  const signals = createSignals<{ grown: Grown }>({
    onListenerError: (error) => log.error("a listener of the stream store failed", { error }),
  });
  const ownLanes = () =>
    lanes.tops(
      [...declared.values()]
        .filter(hasLane)
        .flatMap(({ name }) => names.findStream(scope, name) ?? []),
    );
  const writer = createGroupCommit(db, {
    path,
    rerunnable: true,
    onCommit() {
      const streams = merge.takeTouched();
      if (streams.length > 0)
        signals.emit("grown", { streams, vector: merge.vector(), lanes: ownLanes() });
    },
    onRollback() {
      for (const part of [tables, backlog, merge, groupTable]) part.forget();
    },
  });

  const relief = ballast && createRelief({ db, clock, log }, { path, ballast });
  const shedding = createShedding({ writer, tables, backlog, log, relief }, () => declared);
  const reading = createReading(tables, { scope, view: identity.view, declared: () => declared });
  const leaving = createLeaving(
    { clock, log },
    { undeclaredGraceMs, declared: () => (declaredOnce ? declared : undefined) },
  );

  const bytesIn = (request: readonly EntryInput[]) =>
    request.reduce((sum, { body }) => sum + body.length, 0);
  /** A transaction that adds these entries, which finds room on a full disk where it may. */
  const writeWithRoom = <T>(
    request: readonly EntryInput[],
    work: () => T,
    also: readonly string[] = [],
  ): Promise<T | Refused> => {
    const streams = new Set([...also, ...request.map(({ stream }) => stream)]);
    const need = { streams, bytes: bytesIn(request) };
    return refusing(() => shedding.withRoom(need, () => writer.write(work)));
  };
  const checkWhole = (request: readonly EntryInput[]): Refused | undefined =>
    store.check(request) ?? refuse(firstComplaint(request.map(({ body }) => body)));

  const groups = createGroups(
    { clock, random, writer, table: groupTable },
    {
      require: (stream) => void reading.readable(stream),
      page({ stream, afterId, fromMs, limit }) {
        const row = reading.readable(stream);
        const toMs = Number.MAX_SAFE_INTEGER;
        const streams = row ? [row] : [];
        const { rows, ...rest } = reading.page({ streams, afterId, fromMs, toMs, limit });
        return {
          ...rest,
          ids: rows.map(({ id }) => id),
          entries: rows.map(reading.toReadEntry),
        };
      },
      countAfter(stream, id) {
        const row = reading.readable(stream);
        return row ? entries.countAfter(row, id) : 0;
      },
      newestId: () => entries.nextId - 1,
      parseCursor: reading.parse,
      cursorOf: reading.cursorOf,
      check: checkWhole,
      write: writeWithRoom,
      add: (request) => merge.add(request),
    },
  );

  const compareEntries = (ask: Ask, piece: Uint8Array) => {
    try {
      return compareShown(ask, decodeColumns(piece), reading.log({ ...ask, bytesMax: 1 }));
    } catch (error) {
      if (error instanceof SkerryError && error.code === "segment-damaged") return "nothing";
      throw error;
    }
  };

  const store: LocalStreamStore = {
    node,
    groups,
    repairs,
    account: createAccount(db, writer),
    setStreams(declarations) {
      declared = new Map(declarations.map((declaration) => [declaration.name, declaration]));
      declaredOnce = true;
      return Promise.resolve();
    },
    check(request) {
      return refuse(checkRequest(request, declared));
    },
    async append(request) {
      const refused = checkWhole(request);
      if (refused) return refused;
      if (request.length === 0) return { state: "stored", stored: 0, duplicates: 0, cover: {} };
      const bytes = bytesIn(request);
      if (waitingBytes + bytes > waitingBytesMax) return busy(`${waitingBytes} bytes`);
      waitingBytes += bytes;
      try {
        return await writeWithRoom(request, () => merge.add(request));
      } finally {
        waitingBytes -= bytes;
      }
    },
    offer(request, onLate) {
      const refused = store.check(request);
      if (!refused) watchLate(store.append(request), onLate);
      return refused;
    },
    read: async (query) => reading.read(query),
    status: async () => storeStatus({ tables, backlog, merge, scrub, writer }, { scope, declared }),
    readLeaving(query) {
      const batch = reading.leaving(query);
      return batch && leaving(batch);
    },
    async log(query) {
      const batch = reading.log(query);
      if (!batch) return undefined;
      const { origin, from, to } = batch;
      const { length: entries } = batch.columns.stream;
      return { origin, from, to, entries, bytes: encodeBatch(batch) };
    },
    async apply(bytes) {
      const batch = decodeColumns(bytes);
      const { streams, bodies } = batch.columns;
      const need = { streams: new Set(streams), bytes: bodies.length };
      return shedding.withRoom(need, () => writer.write(() => merge.apply(batch)));
    },
    async vector() {
      return merge.vector();
    },
    async beyond({ stream, vector }) {
      const row = reading.readable(stream);
      return row ? beyond(row, vector) : { entries: 0, origins: [] };
    },
    lanes: async () => ownLanes(),
    async expectHub() {
      if (!backlog.hubExpected) await writer.write(() => backlog.expectHub());
    },
    markHub: (tops) => writer.write(() => markHub({ names, lanes, backlog }, scope, tops)),
    async observe(told, proof) {
      const { name, top } = merge.own;
      const verdict = judge({ name, top, floor: 0 }, told, proof, compareEntries);
      if (verdict.state === "fine") return observed(name, givenUp, { rotated: false });
      if (verdict.state === "ask")
        return observed(name, givenUp, { rotated: false, ask: verdict.ask });
      const { same } = verdict;
      const origin = `${node}.${newIncarnation(random, clock.wallMs())}`;
      const rotated = await writer.write(() => {
        // Another peer may have shown it meanwhile.
        if (merge.own.name !== name) return false;
        merge.rotate(origin, same);
        givenUp.add(name);
        return true;
      });
      if (!rotated) return observed(merge.own.name, givenUp, { rotated });
      log.error("others have more of this store's log than the store itself: it was put back", {
        origin: name,
        now: origin,
        top,
        same,
        theirTop: told[name],
      });
      return observed(origin, givenUp, { rotated });
    },
    async retain() {
      segments.trim();
      let removed = 0;
      const keepUndeclared = clock.monotonicMs() - openedMs < undeclaredKeepMs;
      for (const { id, name } of names.streams()) {
        if (keepUndeclared && !declared.has(name)) continue;
        for (;;) {
          const removeSome = () => {
            const stream = names.streamById(id);
            const { removed: rows, unsent } = retention.step(stream, {
              ...boundsOf(stream),
              keepForHub: declared.get(stream.name)?.egress !== undefined && backlog.hubExpected,
            });
            backlog.subtract(stream, unsent);
            return rows;
          };
          const step = await shedding.withRelief(() => writer.write(removeSome));
          if (step === 0) break;
          removed += step;
        }
      }
      return { removed };
    },
    on: (event, listener) => signals.on(event, listener),
    async close() {
      sweep.cancel();
      sealer.stop();
      scrub.stop();
      const { name, top } = merge.own;
      log.debug("stream store closes", { origin: name, top });
      await writer.close();
      relief?.close();
      const marker = { token: identity.token, inode: inodeOf(path), top: merge.own.top };
      withBallast(ballast, () => writeMarker(path, marker));
    },
  };
  const sealer = startSealer(
    { clock, log, writer, tables, boundsOf: knownBoundsOf },
    options.sealing,
  );
  const scrub = startScrub({ clock, random, log, writer, tables }, options.scrub);
  const sweep = every(
    clock,
    options.retentionPeriodMs ?? 10_000,
    async () => void (await store.retain()),
    (error) => log.error("retention failed; it is tried again", { error }),
  );
  return store;
}

function firstComplaint(bodies: readonly Uint8Array[]): Complaint | undefined {
  for (const [index, body] of bodies.entries()) {
    const complaint = checkBody(body, index);
    if (complaint) return complaint;
  }
  return undefined;
}
