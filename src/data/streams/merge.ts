/**
 * What changes the merged view: appends of this node, pieces of other nodes' logs, and the change to
 * a new origin. Each method runs inside one transaction, rows and vector together (D2, D3).
 */
import type { EntryInput } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { Arrivals } from "../tables/arrivals.ts";
import type { Backlog } from "../tables/backlog.ts";
import type { EntryTable } from "../tables/entry-table.ts";
import type { HubLanes } from "../tables/lanes.ts";
import type { Names, OriginRow, StreamRow } from "../tables/names.ts";
import type { Retention } from "../tables/retention.ts";
import type { Sealing } from "../tables/sealing.ts";
import type { AppendAnswer, ApplyAnswer, ColumnBatch, Vector } from "./store.ts";

export interface Merge {
  add(request: readonly EntryInput[]): AppendAnswer;
  apply(batch: ColumnBatch): ApplyAnswer;
  /** Goes on under `origin`; what the log held behind a position moves along. */
  rotate(origin: string, after: number): void;
  vector(): Vector;
  readonly own: OriginRow;
  /** Streams with new entries since the last call. */
  takeTouched(): readonly string[];
  forget(): void;
}

const scope = "";
const producersMax = 100_000;
/** Of bodies in a request that is sealed as it comes: packing them holds up what else is written. */
const sealedRequestBytesMax = 1024 * 1024;

export function createMerge(
  deps: { clock: Clock; db: Database },
  tables: {
    names: Names;
    lanes: HubLanes;
    entries: EntryTable;
    sealing: Sealing;
    retention: Retention;
    backlog: Backlog;
    arrivals: Arrivals;
  },
  origin: string,
): Merge {
  const { clock, db } = deps;
  const { names, lanes, entries, sealing, retention, backlog, arrivals } = tables;
  let own = names.origin(scope, origin);
  const readOrigin = db.prepare("SELECT value FROM meta WHERE name = 'origin'");
  let touched = new Set<string>();

  const requireProducerRoom = (stream: StreamRow, { key }: EntryInput) => {
    if (!key || names.producers < producersMax) return;
    if (names.findProducer(stream, key.producer) !== undefined) return;
    throw new SkerryError({
      code: "producers-too-many",
      message: `producer "${key.producer}" of stream ${stream.name}: this store knows ${producersMax} producers already`,
      hint: "use one producer name per device or process, not one per message",
    });
  };

  /** Of one stream, in numbers, and all new: sealed, and never rows. False: nothing was done. */
  const addSealed = (request: readonly EntryInput[], nowMs: number): boolean => {
    const [{ stream: name } = { stream: "" }] = request;
    const bytes = request.reduce((sum, { body }) => sum + body.length, 0);
    if (
      request.length < arrivals.sealedMin ||
      bytes > sealedRequestBytesMax ||
      names.producers + request.length > producersMax ||
      request.some(({ stream }) => stream !== name)
    )
      return false;
    const stream = names.stream(scope, name);
    const wasRemoved = ({ key }: EntryInput): boolean => {
      if (!key) return false;
      const producer = names.findProducer(stream, key.producer);
      return producer !== undefined && entries.removed.has(producer, key.epoch, key.sequence);
    };
    if (request.some(wasRemoved)) return false;
    const fresh = () =>
      request.map((entry, index) => ({
        id: entries.nextId + index,
        entry: {
          ...entry,
          atMs: entry.atMs ?? nowMs,
          position: { origin: own.name, sequence: own.top + 1 + index },
        },
      }));
    if (!arrivals.seal(stream, own, { entries: request.length, bytes }, fresh)) return false;
    entries.reserve(request.length);
    own.top += request.length;
    for (const { body } of request) backlog.add(stream, body.length);
    lanes.added(own, stream, own.top);
    touched.add(name);
    return true;
  };

  return {
    add(request) {
      let [stored, duplicates] = [0, 0];
      const cover: Record<string, number> = {};
      const removed: number[] = [];
      const nowMs = Math.max(0, Math.round(clock.wallMs()));
      retention.noteArrival();
      const isSealed = addSealed(request, nowMs);
      if (isSealed) stored = request.length;
      for (const entry of isSealed ? [] : request) {
        const stream = names.stream(scope, entry.stream);
        requireProducerRoom(stream, entry);
        const placed = { ...entry, atMs: entry.atMs ?? nowMs };
        const outcome = entries.insert(own, own.top + 1, stream, placed, { refuseRemoved: true });
        if (outcome.state === "stored") {
          stored++;
          own.top++;
          backlog.add(stream, entry.body.length);
          lanes.added(own, stream, own.top);
          touched.add(stream.name);
          continue;
        }
        if (outcome.state === "removed") removed.push(stored + duplicates);
        else
          for (const { origin: at, sequence } of outcome.at)
            cover[at] = Math.max(cover[at] ?? 0, sequence);
        duplicates++;
      }
      if (stored > 0) {
        cover[own.name] = own.top;
        names.writeTop(own);
        names.writeCounters();
      }
      const gone = removed.length > 0 ? { removed } : {};
      return { state: "stored", stored, duplicates, ...gone, cover };
    },

    apply(batch) {
      const top = names.findOrigin(scope, batch.origin)?.top ?? 0;
      if (batch.origin === own.name)
        return { state: "applied", origin: batch.origin, top, stored: 0 };
      return arrivals.apply(scope, batch, (stream, origin, sequence, bodyBytes) => {
        touched.add(stream.name);
        if (sequence > lanes.hubTop(origin, stream)) backlog.add(stream, bodyBytes);
        lanes.added(origin, stream, sequence);
      });
    },

    rotate(name, after) {
      const before = own;
      const next = names.origin(scope, name);
      sealing.unseal(before, names.streams(), after);
      const moved = db
        .prepare("SELECT id FROM entry WHERE origin = ? AND sequence > ? ORDER BY sequence")
        .all(before.id, after);
      const move = db.prepare("UPDATE entry SET origin = ?, sequence = ? WHERE id = ?");
      for (const row of moved) move.run(next.id, ++next.top, Number(row["id"]));
      before.top = Math.min(before.top, after);
      names.writeTop(before);
      names.writeTop(next);
      db.prepare("UPDATE meta SET value = ? WHERE name = 'origin'").run(name);
      lanes.forget();
      backlog.forget();
      own = next;
    },

    // An opening that nothing was written after leaves no trace with others.
    vector: () =>
      Object.fromEntries(
        names.origins(scope).flatMap(({ name, top }) => (top > 0 ? [[name, top]] : [])),
      ),
    get own() {
      return own;
    },
    takeTouched() {
      const streams = [...touched];
      touched = new Set();
      return streams;
    },
    forget() {
      // `touched` stays: a reader woken for nothing reads nothing, one not woken would wait.
      const name = String(readOrigin.get()?.["value"]);
      own = names.findOrigin(scope, name) ?? own;
    },
  };
}
