/**
 * Entries as an audit sees them: by position in each origin's log, those that stand under another
 * position by their key included (D4). Rows and sealed segments alike. Read-only; made anew in every
 * snapshot, for the writer seals, removes and interns meanwhile.
 */
import type { EgressPolicy, StoredEntry } from "../../api/index.ts";
import { entriesOf } from "../../api/records/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { createEntryReads } from "../tables/entry-reads.ts";
import { createLogReads } from "../tables/log-reads.ts";
import { createNames, type StreamRow } from "../tables/names.ts";
import { createRemovedKeys } from "../tables/removed-keys.ts";
import { SegmentDamaged } from "../tables/segment-contents.ts";
import { createSegments } from "../tables/segments.ts";
import type { EntryKeyText, HeldLog } from "./sides.ts";

/** What a policy lets out of a body; the gate's. */
export type NarrowBody = (body: Uint8Array, policy: EgressPolicy) => Uint8Array;

/** In the order of the store's own view; an entry comes once for each position that it stands for. */
export type ViewPage = {
  readonly entries: readonly StoredEntry[];
  readonly next: number;
  readonly more: boolean;
};

export type LogPiece = { readonly entries: readonly StoredEntry[]; readonly damaged?: string };

export interface EntriesReads {
  names(scope: string): readonly string[];
  /** Undefined: there never was an entry of it. */
  open(name: string, scope: string): OpenLogs | undefined;
}

export interface OpenLogs {
  /** About. */
  readonly entries: number;
  /** A log that holds nothing of the stream begins behind its end. */
  held(): readonly HeldLog[];
  heldOf(origin: string): HeldLog;
  /** What the disk lost is passed over: the other side has it, or nobody. */
  page(afterId: number): ViewPage;
  positions(at: { origin: string; from: number; to: number }): LogPiece;
  removed(keys: readonly EntryKeyText[]): readonly boolean[];
}

const pageEntries = 2000;

export function openEntriesReads(db: Database): EntriesReads {
  const names = createNames(db);
  return {
    names: (scope) =>
      names.streams().flatMap((row) => (row.scope === scope && row.entries > 0 ? row.name : [])),
    open(name, scope) {
      const stream = names.findStream(scope, name);
      return stream && openLogs(db, names, stream);
    },
  };
}

function openLogs(
  db: Database,
  names: ReturnType<typeof createNames>,
  stream: StreamRow,
): OpenLogs {
  const { scope } = stream;
  const segments = createSegments(db, names);
  const lastRow = db.prepare("SELECT max(id) AS id FROM entry");
  const last = Math.max(Number(lastRow.get()?.["id"] ?? 0), segments.lastId);
  const readLog = createLogReads(db, { names, segments });
  const reads = createEntryReads(db, { names, segments }, () => last + 1);
  const firstPiece = db.prepare(
    "SELECT min(first_sequence) AS first FROM piece WHERE origin = ? AND stream = ?",
  );
  // Entries of one origin arrive in the order of their positions.
  const firstRow = db.prepare(
    "SELECT sequence FROM entry WHERE stream = ? AND origin = ? ORDER BY id LIMIT 1",
  );
  const aliases = db.prepare(
    "SELECT origin, sequence, entry FROM alias WHERE entry >= ? AND entry <= ?",
  );

  const heldOf = (origin: string): HeldLog => {
    const row = names.findOrigin(scope, origin);
    if (!row) return { origin, first: 1, top: 0 };
    const firsts = [
      firstPiece.get(row.id, stream.id)?.["first"],
      firstRow.get(stream.id, row.id)?.["sequence"],
    ].flatMap((first) => (typeof first === "number" ? first : []));
    return { origin, first: Math.min(row.top + 1, ...firsts), top: row.top };
  };

  return {
    entries: stream.entries,
    held: () => names.origins(scope).map((row) => heldOf(row.name)),
    heldOf,
    page(afterId) {
      const query = { streams: [stream], afterId, fromMs: 0, toMs: Number.MAX_SAFE_INTEGER };
      try {
        const { rows, lastId, more } = reads.page({ ...query, limit: pageEntries });
        const byId = new Map(rows.map((row) => [row.id, row]));
        const also = aliases.all(rows[0]?.id ?? 0, rows.at(-1)?.id ?? 0).flatMap((alias) => {
          const row = byId.get(Number(alias["entry"]));
          const origin = names.originById(Number(alias["origin"])).name;
          return row ? { ...row, position: { origin, sequence: Number(alias["sequence"]) } } : [];
        });
        return { entries: [...rows, ...also], next: lastId, more };
      } catch (error) {
        if (!(error instanceof SegmentDamaged)) throw error;
        return { entries: [], next: error.held.lastId, more: true };
      }
    },
    positions({ origin, from, to }) {
      const row = names.findOrigin(scope, origin);
      if (!row) return { entries: [] };
      try {
        const limits = { entriesMax: to - from + 1, bytesMax: Infinity };
        const { columns } = readLog(row, [stream], { from, to }, limits, "error");
        return { entries: entriesOf(origin, columns) };
      } catch (error) {
        if (error instanceof SegmentDamaged) return { entries: [], damaged: error.message };
        throw error;
      }
    },
    removed(keys) {
      const removed = createRemovedKeys(db);
      return keys.map(([producer, epoch, sequence]) => {
        const number = names.findProducer(stream, producer);
        return number !== undefined && removed.has(number, epoch, sequence);
      });
    },
  };
}

/**
 * What of an entry is compared. Of one with a key, not its time: accepted twice, by nodes that were cut
 * off from each other, it has the time at which it came first, which is another one on each side.
 */
export function contentOf(
  { position, key, atMs, body }: StoredEntry,
  narrowed: (body: Uint8Array) => Uint8Array,
): Uint8Array {
  const who = key ? [key.producer, key.epoch, key.sequence] : [atMs];
  const head = JSON.stringify([position.sequence, ...who]);
  return Buffer.concat([Buffer.from(head), narrowed(body)]);
}

export const keyTextOf = ({ key }: StoredEntry): { readonly key?: EntryKeyText } =>
  key ? { key: [key.producer, key.epoch, key.sequence] } : {};
