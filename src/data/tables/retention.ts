/**
 * Deletes the oldest entries of a stream by arrival, a segment or a few hundred rows at a time, so
 * that a step costs other writes a few milliseconds. A segment goes whole: not before the youngest
 * entry in it is too old, or all of it is too much. Ages are counted on the store's own clock (`tide`),
 * which advances with the monotonic clock while the store is open, and never by the time of day: time
 * switched off makes nothing older, and no wall clock deletes anything, before a restart or after (D8).
 */
import type { Clock } from "../../lib/clock.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { EntryTable } from "./entry-table.ts";
import type { HubLanes } from "./lanes.ts";
import type { Names, StreamRow } from "./names.ts";
import type { Sealing } from "./sealing.ts";
import type { Run } from "./sealed-keys.ts";
import type { Held } from "./segment-directory.ts";
import type { Segments } from "./segments.ts";

export type RetentionLimits = {
  readonly ageMs?: number;
  readonly bytesMax: number;
  /** Age alone does not remove what the hub has not acknowledged (size always does). */
  readonly keepForHub: boolean;
};

export type RetentionStep = {
  readonly removed: number;
  /** Of these, what the hub had not acknowledged. */
  readonly unsent: { readonly entries: number; readonly bytes: number };
};

export interface Retention {
  /** One step inside a transaction: what it removed, 0 when nothing is beyond the limits. */
  step(stream: StreamRow, limits: RetentionLimits): RetentionStep;
  /** Notes when rows from `nextId` on arrived; call before rows are added. */
  noteArrival(): void;
  ageOfMs(id: number): number | undefined;
  forget(): void;
}

/** What is too much: everything below `belowId` by size, below `cutId` by age. */
type Cut = {
  readonly excessBytes: number;
  readonly cutId: number;
  readonly belowId: number;
  readonly keepForHub: boolean;
};

const stepRows = 500;
const tideStepMs = 1000;
/** A store that is started again may be so much younger. */
const savePeriodMs = 600_000;
const nothing: RetentionStep = { removed: 0, unsent: { entries: 0, bytes: 0 } };

export function createRetention(
  deps: { clock: Clock; db: Database },
  tables: {
    names: Names;
    lanes: HubLanes;
    segments: Segments;
    sealing: Sealing;
    entries: EntryTable;
  },
): Retention {
  const { db, clock } = deps;
  const { names, lanes, segments, sealing, entries } = tables;
  const insertTide = db.prepare("INSERT OR REPLACE INTO tide VALUES (?, ?)");
  const writeMeta = db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)");
  const firstYounger = db.prepare(
    "SELECT first_id FROM tide WHERE age_ms > ? ORDER BY first_id LIMIT 1",
  );
  const tideOf = db.prepare(
    "SELECT age_ms FROM tide WHERE first_id <= ? ORDER BY first_id DESC LIMIT 1",
  );
  const pruneTide = db.prepare(
    "DELETE FROM tide WHERE first_id < (SELECT max(first_id) FROM tide WHERE first_id <= ?)",
  );
  const oldestRows = db.prepare(
    `SELECT id, origin, sequence, producer, epoch, producer_sequence, length(body) AS bytes
     FROM entry WHERE stream = ? AND id < ? ORDER BY id LIMIT ?`,
  );
  const deleteRow = db.prepare("DELETE FROM entry WHERE id = ?");
  const deleteAlias = db.prepare("DELETE FROM alias WHERE entry = ?");
  const oldestRowId = db.prepare("SELECT min(id) AS id FROM entry");

  const meta = (name: string) =>
    db.prepare("SELECT value FROM meta WHERE name = ?").get(name)?.["value"];
  const openedMs = clock.monotonicMs();
  const ageAtOpenMs = Number(meta("age_ms") ?? 0);
  const nowMs = () => Math.round(ageAtOpenMs + clock.monotonicMs() - openedMs);
  let lastTideMs = -Infinity;
  let savedMs = ageAtOpenMs;
  const save = (ageMs: number) => {
    writeMeta.run("age_ms", ageMs);
    savedMs = ageMs;
  };

  /** Of these positions, what the hub has not acknowledged. */
  const unsentIn = (stream: StreamRow, held: Held) => {
    const unsent = { entries: 0, bytes: 0 };
    for (const piece of segments.piecesOf(held)) {
      const hubTop = lanes.hubTop(names.originById(piece.origin), stream);
      if (piece.lastSequence <= hubTop) continue;
      const waiting = segments.countIn(piece, hubTop, piece.lastSequence);
      unsent.entries += waiting.entries;
      unsent.bytes += waiting.bytes;
    }
    return unsent;
  };

  const removeSegment = (
    stream: StreamRow,
    held: Held,
    { excessBytes, cutId, keepForHub }: Cut,
  ): RetentionStep => {
    const unsent = unsentIn(stream, held);
    const isOld = held.lastId < cutId && !(unsent.entries > 0 && keepForHub);
    if (excessBytes <= 0 && !isOld) return nothing;
    entries.removed.add(sealing.remove(held));
    return { removed: held.entries, unsent };
  };

  const removeRows = (stream: StreamRow, cut: Cut): RetentionStep => {
    const runs: Run[] = [];
    let freed = 0;
    let removed = 0;
    const unsent = { entries: 0, bytes: 0 };
    for (const row of oldestRows.all(stream.id, cut.belowId, stepRows)) {
      const bySize = freed < cut.excessBytes;
      const waits =
        Number(row["sequence"]) > lanes.hubTop(names.originById(Number(row["origin"])), stream);
      if (!bySize && (Number(row["id"]) >= cut.cutId || (waits && cut.keepForHub))) break;
      const bytes = Number(row["bytes"]) + entryOverheadBytes;
      deleteAlias.run(Number(row["id"]));
      deleteRow.run(Number(row["id"]));
      freed += bytes;
      removed++;
      stream.entries--;
      stream.bytes -= bytes;
      if (waits) {
        unsent.entries++;
        unsent.bytes += bytes;
      }
      if (row["producer"] === null) continue;
      const [producer, epoch] = [Number(row["producer"]), Number(row["epoch"])];
      const sequence = Number(row["producer_sequence"]);
      runs.push({ producer, epoch, first: sequence, last: sequence });
    }
    entries.removed.add(runs);
    return { removed, unsent };
  };

  return {
    noteArrival() {
      const now = nowMs();
      if (now - lastTideMs < tideStepMs) return;
      lastTideMs = now;
      insertTide.run(entries.nextId, now);
      save(now);
    },
    ageOfMs(id) {
      const row = tideOf.get(id);
      return row && Math.max(0, nowMs() - Number(row["age_ms"]));
    },
    step(stream, { ageMs, bytesMax, keepForHub }) {
      if (nowMs() - savedMs >= savePeriodMs) save(nowMs());
      const excessBytes = stream.bytes - bytesMax;
      // A row's tide is the last one at or before it: rows below the first younger tide are old enough.
      const cutId =
        ageMs === undefined
          ? 0
          : Number(firstYounger.get(nowMs() - ageMs)?.["first_id"] ?? entries.nextId);
      const belowId = excessBytes > 0 ? entries.nextId : cutId;
      if (belowId <= 0 || stream.entries === 0) return nothing;
      const held = segments.oldest(stream);
      const cut: Cut = { excessBytes, cutId, belowId, keepForHub };
      const step = held ? removeSegment(stream, held, cut) : removeRows(stream, cut);
      if (step.removed === 0) return nothing;
      if (keepForHub) stream.droppedBeforeHub += step.unsent.entries;
      stream.changed = true;
      // With its last row gone nothing else would say which ids were used.
      writeMeta.run("next_id", entries.nextId);
      const oldestRow = oldestRowId.get()?.["id"] ?? entries.nextId;
      pruneTide.run(Math.min(Number(oldestRow), segments.oldestId ?? Infinity));
      names.writeCounters();
      return step;
    },
    forget() {
      [lastTideMs, savedMs] = [-Infinity, -Infinity];
    },
  };
}
