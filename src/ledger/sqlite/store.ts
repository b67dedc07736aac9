/**
 * Statements over the ledger's file. Everything here is synchronous: the functions that write run
 * inside a transaction of the group commit, so their changes, the revision included, are undone
 * together, and a read between two transactions sees committed state only.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import { endOfPrefix, leaseNotFound } from "../checks.ts";
import type {
  Condition,
  KeyValue,
  LeaseId,
  LedgerEvent,
  Operation,
  Revision,
  WatchBatch,
} from "../ledger.ts";

type Row = {
  id: number;
  revision: number;
  key: string;
  value: Uint8Array | null;
  create_revision: number;
  version: number;
  lease: string | null;
};

export type Applied =
  | { readonly state: "done"; readonly revision: Revision; readonly batch: WatchBatch | undefined }
  | {
      readonly state: "refused";
      readonly revision: Revision;
      readonly current: readonly KeyValue[];
    };

export type Page = { from: string; prefix: string; limit: number };

export interface Store {
  state(): { revision: Revision; compacted: Revision };
  current(key: string): KeyValue | undefined;
  at(key: string, revision: Revision): KeyValue | undefined;
  /** Keys above `from` in byte order; reads current rows only. */
  listCurrent(page: Page): KeyValue[];
  listAt(page: Page, revision: Revision): KeyValue[];
  /** Whole revisions after `after`, up to about `bytesMax`, and the revision they reach to. */
  batches(range: { after: Revision; upTo: Revision; prefix: string; bytesMax: number }): {
    batches: WatchBatch[];
    upTo: Revision;
  };

  /** Inside a transaction. Throws `lease-not-found`. */
  apply(
    when: readonly Condition[],
    then: readonly Operation[],
    alive: (lease: LeaseId) => boolean,
  ): Applied;
  addLease(lease: LeaseId, ttlMs: number): void;
  /** Deletes the lease and its keys at one revision; undefined when it had none. */
  removeLease(lease: LeaseId): WatchBatch | undefined;
  leases(): { lease: LeaseId; ttlMs: number }[];
  setCompacted(revision: Revision): void;
  /** Deletes up to `rowsMax` rows that no revision from the compacted one on can see. */
  sweep(rowsMax: number): number;
  bytes(): number;
}

const columns = "id, revision, key, value, create_revision, version, lease";
const current = "superseded IS NULL";

export function createStore(db: Database): Store {
  const readState = db.prepare("SELECT revision, compacted FROM state");
  const writeRevision = db.prepare("UPDATE state SET revision = ?");
  const writeCompacted = db.prepare("UPDATE state SET compacted = ?");
  const readCurrent = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_current WHERE key = ? AND ${current}`,
  );
  const readAt = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_by_key
     WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1`,
  );
  const pageCurrent = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_current
     WHERE key > ? AND key >= ? AND key < ? AND ${current} ORDER BY key LIMIT ?`,
  );
  const pageAt = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_by_key
     WHERE key > ? AND key >= ? AND key < ? AND revision <= ?
       AND (superseded IS NULL OR superseded > ?) ORDER BY key LIMIT ?`,
  );
  const readRange = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_by_revision
     WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY revision, id`,
  );
  const supersede = db.prepare("UPDATE history SET superseded = ? WHERE id = ?");
  const insert = db.prepare(
    `INSERT INTO history (revision, key, value, create_revision, version, lease, superseded)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );
  const readLease = db.prepare("SELECT 1 FROM leases WHERE lease = ?");
  const readLeases = db.prepare("SELECT lease, ttl_ms FROM leases");
  const insertLease = db.prepare("INSERT INTO leases VALUES (?, ?)");
  const deleteLease = db.prepare("DELETE FROM leases WHERE lease = ?");
  const leaseKeys = db.prepare(
    `SELECT ${columns} FROM history INDEXED BY history_lease WHERE lease = ? AND ${current} ORDER BY key`,
  );
  const sweepRows = db.prepare(
    `DELETE FROM history WHERE id IN (
       SELECT id FROM history INDEXED BY history_superseded
       WHERE superseded <= (SELECT compacted FROM state) LIMIT ?)`,
  );
  const pageCount = db.prepare("PRAGMA page_count");
  const pageSize = db.prepare("PRAGMA page_size");

  const state = () => readState.get() as { revision: Revision; compacted: Revision };
  const currentRow = (key: string) => readCurrent.get(key) as Row | undefined;

  /** The version of a key that `revision` replaced. */
  const before = (key: string, revision: number): KeyValue | undefined => {
    const row = readAt.get(key, revision - 1) as Row | undefined;
    return row && keyValueOf(row);
  };

  const put = (operation: Operation & { type: "put" }, revision: Revision): LedgerEvent => {
    const previous = currentRow(operation.key);
    if (previous) supersede.run(revision, previous.id);
    const createRevision = (previous?.create_revision ?? revision) as Revision;
    const version = (previous?.version ?? 0) + 1;
    const { key, value, lease } = operation;
    insert.run(revision, key, value, createRevision, version, lease ?? null, null);
    return {
      type: "put",
      keyValue: {
        key,
        value,
        createRevision,
        modRevision: revision,
        version,
        ...(lease === undefined ? {} : { lease }),
      },
      ...previousOf(previous),
    };
  };

  const remove = (row: Row, revision: Revision): LedgerEvent => {
    supersede.run(revision, row.id);
    insert.run(revision, row.key, null, row.create_revision, 0, null, revision);
    return { type: "delete", key: row.key, ...previousOf(row) };
  };

  return {
    state,
    current: (key) => keyValueOf(currentRow(key)),
    at: (key, revision) => keyValueOf(readAt.get(key, revision) as Row | undefined),
    listCurrent: ({ from, prefix, limit }) =>
      present(pageCurrent.all(from, prefix, endOfPrefix(prefix), limit) as Row[]),
    listAt: ({ from, prefix, limit }, revision) =>
      present(pageAt.all(from, prefix, endOfPrefix(prefix), revision, revision, limit) as Row[]),

    batches({ after, upTo, prefix, bytesMax }) {
      const batches: { revision: Revision; events: LedgerEvent[] }[] = [];
      let bytes = 0;
      for (const row of readRange.iterate(
        after,
        upTo,
        prefix,
        endOfPrefix(prefix),
      ) as Iterable<Row>) {
        let batch = batches.at(-1);
        if (batch?.revision !== row.revision) {
          // Only here, between two revisions, may a page end.
          if (batch && bytes >= bytesMax) return { batches, upTo: batch.revision };
          batch = { revision: row.revision as Revision, events: [] };
          batches.push(batch);
        }
        const event = eventOf(row, before(row.key, row.revision));
        batch.events.push(event);
        bytes += eventBytes(event);
      }
      return { batches, upTo };
    },

    apply(when, then, alive) {
      const { revision } = state();
      const failed = new Map<string, KeyValue | undefined>();
      for (const { key, modRevision } of when) {
        const row = currentRow(key);
        if ((row?.revision ?? 0) !== modRevision) failed.set(key, keyValueOf(row));
      }
      if (failed.size > 0) {
        const current = [...failed.values()].filter((keyValue) => keyValue !== undefined);
        return { state: "refused", revision, current };
      }
      for (const operation of then) {
        if (operation.type !== "put" || operation.lease === undefined) continue;
        if (!alive(operation.lease) || !readLease.get(operation.lease))
          throw leaseNotFound(operation.lease);
      }
      const next = (revision + 1) as Revision;
      const events = then.flatMap((operation) => {
        if (operation.type === "put") return [put(operation, next)];
        const row = currentRow(operation.key);
        return row ? [remove(row, next)] : [];
      });
      if (events.length === 0) return { state: "done", revision, batch: undefined };
      writeRevision.run(next);
      return { state: "done", revision: next, batch: { revision: next, events } };
    },

    addLease: (lease, ttlMs) => void insertLease.run(lease, ttlMs),
    removeLease(lease) {
      const rows = leaseKeys.all(lease) as Row[];
      deleteLease.run(lease);
      if (rows.length === 0) return undefined;
      const next = (state().revision + 1) as Revision;
      const events = rows.map((row) => remove(row, next));
      writeRevision.run(next);
      return { revision: next, events };
    },
    leases: () =>
      readLeases
        .all()
        .map((row) => ({ lease: row["lease"] as LeaseId, ttlMs: Number(row["ttl_ms"]) })),
    setCompacted: (revision) => void writeCompacted.run(revision),
    sweep: (rowsMax) => Number(sweepRows.run(rowsMax).changes),
    bytes: () => Number(pageCount.get()?.["page_count"]) * Number(pageSize.get()?.["page_size"]),
  };
}

function keyValueOf(row: Row | undefined): KeyValue | undefined {
  if (!row || row.value === null) return undefined;
  return {
    key: row.key,
    value: row.value,
    createRevision: row.create_revision as Revision,
    modRevision: row.revision as Revision,
    version: row.version,
    ...(row.lease === null ? {} : { lease: row.lease as LeaseId }),
  };
}

const present = (rows: readonly Row[]) =>
  rows.map(keyValueOf).filter((keyValue) => keyValue !== undefined);

function previousOf(row: Row | undefined): { previous?: KeyValue } {
  const previous = keyValueOf(row);
  return previous === undefined ? {} : { previous };
}

function eventOf(row: Row, previous: KeyValue | undefined): LedgerEvent {
  const keyValue = keyValueOf(row);
  const rest = previous === undefined ? {} : { previous };
  return keyValue ? { type: "put", keyValue, ...rest } : { type: "delete", key: row.key, ...rest };
}

/** What an event weighs in memory, roughly. */
export function eventBytes(event: LedgerEvent): number {
  const value = event.type === "put" ? event.keyValue.value.byteLength : 0;
  return 256 + value + (event.previous?.value.byteLength ?? 0);
}
