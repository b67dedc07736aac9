/**
 * Entries, rows and sealed ones alike: written with a position in their origin's log, unique by
 * producer key within the merged view, read by stream or by log. Every method that writes runs inside
 * a transaction.
 */
import type { EntryInput } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import { createEntryReads, type EntryReads } from "./entry-reads.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { createRemovedKeys, type RemovedKeys } from "./removed-keys.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Segments } from "./segments.ts";

export type PlacedEntry = EntryInput & { readonly atMs: number };
export type Place = { readonly origin: string; readonly sequence: number };

/**
 * Where an entry that was there before stands: a store that has all of these places has it. More than
 * one when a damaged segment cannot say which it is. `removed`: retention did, it stands nowhere.
 */
export type Insertion =
  | { readonly state: "stored" }
  | { readonly state: "duplicate"; readonly at: readonly Place[] }
  | { readonly state: "removed" };

export interface EntryTable extends EntryReads {
  /**
   * Adds one row at this position, unless its key is there. Keys that retention removed are refused
   * only with `refuseRemoved`: what arrives by replication is better kept twice in time than missed
   * by the hub.
   */
  insert(
    origin: OriginRow,
    sequence: number,
    stream: StreamRow,
    entry: PlacedEntry,
    options: {
      refuseRemoved: boolean;
      /** One that was reserved. Absent: the next one. */
      id?: number | undefined;
    },
  ): Insertion;
  /** Remembers that this position holds the entry with this key, which stands elsewhere. */
  alias(origin: OriginRow, sequence: number, stream: StreamRow, entry: EntryInput): void;
  readonly removed: RemovedKeys;
  /** The next row's place in the merged view. */
  readonly nextId: number;
  /** Places for entries that are sealed without having been rows; the first of them. */
  reserve(count: number): number;
  /** Call after a rollback, after `names.forget` and `segments.forget`. */
  forget(): void;
}

export function createEntryTable(
  db: Database,
  tables: { names: Names; segments: Segments },
): EntryTable {
  const { names, segments } = tables;
  const insertRow = db.prepare("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const findKey = db.prepare(
    `SELECT id, origin, sequence FROM entry
     WHERE producer = ? AND epoch = ? AND producer_sequence = ?`,
  );
  const insertAlias = db.prepare("INSERT OR IGNORE INTO alias VALUES (?, ?, ?, ?)");

  const removed = createRemovedKeys(db);
  let nextId = 1;
  const load = () => {
    const last = Number(db.prepare("SELECT max(id) AS id FROM entry").get()?.["id"] ?? 0);
    const kept = Number(
      db.prepare("SELECT value FROM meta WHERE name = 'next_id'").get()?.["value"] ?? 1,
    );
    nextId = Math.max(last + 1, segments.lastId + 1, kept);
  };
  load();

  const count = (stream: StreamRow, bodyBytes: number) => {
    stream.entries++;
    stream.bytes += bodyBytes + entryOverheadBytes;
    stream.changed = true;
  };

  const placeOf = ({ origin, sequence }: { origin: number; sequence: number }): Place => ({
    origin: names.originById(origin).name,
    sequence,
  });
  /** Of a sealed key; all the places that a damaged segment covers. */
  const placesIn = (
    segment: number,
    [producer, epoch, sequence]: readonly [number, number, number],
  ): readonly Place[] => {
    try {
      const row = segments.rowByKey(segment, producer, epoch, sequence);
      return row ? [placeOf(row)] : [];
    } catch (error) {
      if (!(error instanceof SegmentDamaged)) throw error;
      return segments
        .piecesOf(error.held)
        .map(({ origin, lastSequence }) => placeOf({ origin, sequence: lastSequence }));
    }
  };

  return {
    ...createEntryReads(db, tables, () => nextId),
    insert(origin, sequence, stream, entry, { refuseRemoved, id = nextId }) {
      const { key, body } = entry;
      if (!key) {
        const row = [id, origin.id, sequence, stream.id, null, null, null, entry.atMs, body];
        // At a hub it may have come by the lane of its stream.
        if (insertRow.run(...row).changes === 0) return { state: "duplicate", at: [] };
        nextId = Math.max(nextId, id + 1);
        count(stream, body.length);
        return { state: "stored" };
      }
      const producer = names.producer(stream, key.producer);
      const segment = segments.findKey(producer, key.epoch, key.sequence);
      if (segment !== undefined) {
        const at = placesIn(segment, [producer, key.epoch, key.sequence]);
        return { state: "duplicate", at };
      }
      // One that came again by replication is here all the same.
      if (
        refuseRemoved &&
        removed.has(producer, key.epoch, key.sequence) &&
        !findKey.get(producer, key.epoch, key.sequence)
      )
        return { state: "removed" };
      const { changes } = insertRow.run(
        id,
        origin.id,
        sequence,
        stream.id,
        producer,
        key.epoch,
        key.sequence,
        entry.atMs,
        body,
      );
      if (changes === 1) {
        nextId = Math.max(nextId, id + 1);
        count(stream, body.length);
        return { state: "stored" };
      }
      const row = findKey.get(producer, key.epoch, key.sequence);
      const at = row && { origin: Number(row["origin"]), sequence: Number(row["sequence"]) };
      return { state: "duplicate", at: at ? [placeOf(at)] : [] };
    },

    alias(origin, sequence, stream, { key }) {
      const producer = key && names.findProducer(stream, key.producer);
      if (!key || producer === undefined) return;
      const segment = segments.findKey(producer, key.epoch, key.sequence);
      const id =
        segment === undefined
          ? findKey.get(producer, key.epoch, key.sequence)?.["id"]
          : segments.rowByKey(segment, producer, key.epoch, key.sequence)?.id;
      if (id !== undefined) insertAlias.run(origin.id, sequence, Number(id), segment ?? null);
    },

    removed,
    get nextId() {
      return nextId;
    },
    reserve(count) {
      nextId += count;
      return nextId - count;
    },
    forget() {
      removed.forget();
      load();
    },
  };
}
