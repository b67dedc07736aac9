/** The hub's store in one SQLite file: the node's tables, with the cell's name as the scope. */
import { every, type Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { nameSuffix, type Random } from "../../../lib/random.ts";
import { createSignals } from "../../../lib/signals.ts";
import { createGroupCommit, openDatabase, sqliteFailure } from "../../../runtime/sqlite/index.ts";
import { decodeColumns } from "../../batch/codec.ts";
import { unknownStream } from "../../streams/check.ts";
import { pageLimit, parseCursor } from "../../streams/cursor.ts";
import { startSealer, type SealingBounds } from "../../streams/sealer.ts";
import { prepareTables } from "../../tables/schema.ts";
import { createArrivals } from "../../tables/arrivals.ts";
import type { StreamRow } from "../../tables/names.ts";
import { createTables } from "../../tables/tables.ts";
import type { GlobalGrown, GlobalStore, Recheck } from "../store.ts";

export type GlobalStoreOptions = {
  readonly path: string;
  /** Since an entry arrived at the hub. Absent: for ever. */
  readonly retentionAgeMs?: number;
  /** Of one stream of one cell. Default 10 GiB. */
  readonly streamBytesMax?: number;
  /** Default 60 seconds. */
  readonly retentionPeriodMs?: number;
  /** The database file never grows past this; what comes is then refused with `disk-full`. */
  readonly fileBytesMax?: number;
};

/** Throws `store-damaged`, `store-newer`, `store-unavailable` or `disk-full`. */
export function openGlobalStore(
  deps: {
    clock: Clock;
    random: Random;
    log: Log;
    recheck: Recheck;
    openFile?: typeof openDatabase;
  },
  options: GlobalStoreOptions,
): GlobalStore {
  const { clock, random, log, recheck, openFile = openDatabase } = deps;
  const { path } = options;
  const db = openFile(path, { fileBytesMax: options.fileBytesMax });
  let view: string;
  try {
    prepareTables(db, path);
    db.prepare("INSERT OR IGNORE INTO meta VALUES ('view', ?)").run(nameSuffix(random, 8));
    view = String(db.prepare("SELECT value FROM meta WHERE name = 'view'").get()?.["value"]);
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
  const tables = createTables({ clock, db });
  const { names, entries, retention, segments } = tables;
  const bounds: SealingBounds = {
    ...(options.retentionAgeMs === undefined ? {} : { ageMs: options.retentionAgeMs }),
    bytesMax: options.streamBytesMax ?? 10 * 2 ** 30,
  };
  const arrivals = createArrivals(db, tables, { boundsOf: () => bounds, sealedMin: 100 });
  let touched = new Map<string, Set<string>>();
  const signals = createSignals<{ grown: readonly GlobalGrown[] }>({
    onListenerError: (error) => log.error("a listener of the hub's store failed", { error }),
  });
  const writer = createGroupCommit(db, {
    path,
    rerunnable: true,
    onCommit() {
      if (touched.size === 0) return;
      const grown = [...touched].map(([cell, streams]) => ({ cell, streams: [...streams] }));
      touched = new Map();
      signals.emit("grown", grown);
    },
    onRollback: () => tables.forget(),
  });
  const sealer = startSealer({ clock, log, writer, tables, boundsOf: () => bounds });

  const store: GlobalStore = {
    async ingest(cell, bytes) {
      const batch = decodeColumns(bytes);
      recheck.check(batch);
      return writer.write(() => {
        let last: StreamRow | undefined;
        return arrivals.apply(cell, batch, (stream) => {
          if (stream === last) return;
          last = stream;
          const streams = touched.get(cell) ?? new Set();
          touched.set(cell, streams);
          streams.add(stream.name);
        });
      });
    },
    async vector(cell) {
      return Object.fromEntries(names.origins(cell).map(({ name, top }) => [name, top]));
    },
    async read({ stream, cell, after, newest, fromMs = 0, toMs = Number.MAX_SAFE_INTEGER, limit }) {
      const known = names.streams().filter((row) => cell === undefined || row.scope === cell);
      const streams = stream === undefined ? known : known.filter(({ name }) => name === stream);
      if (stream !== undefined && streams.length === 0)
        throw new SkerryError(unknownStream(stream, new Set(known.map(({ name }) => name))));
      const page = entries.page({
        streams,
        afterId:
          newest === undefined
            ? parseCursor(after, view)
            : entries.beforeNewest(streams, pageLimit(newest)),
        fromMs,
        toMs,
        limit: pageLimit(limit),
      });
      return {
        entries: page.rows.map(({ id, scope, ...entry }) => ({
          ...entry,
          cell: scope,
          cursor: `${view}.${id}`,
        })),
        cursor: `${view}.${page.lastId}`,
        more: page.more,
      };
    },
    async streams(cell) {
      return names
        .streams()
        .filter(({ scope }) => cell === undefined || scope === cell)
        .map(({ scope, name, entries: count, bytes }) => ({
          cell: scope,
          name,
          entries: count,
          bytes,
        }))
        .sort((a, b) => (`${a.cell}\n${a.name}` < `${b.cell}\n${b.name}` ? -1 : 1));
    },
    async retain() {
      segments.trim();
      let removed = 0;
      for (const { id } of names.streams()) {
        for (;;) {
          const step = await writer.write(() =>
            retention.step(names.streamById(id), { ...bounds, keepForHub: false }),
          );
          if (step.removed === 0) break;
          removed += step.removed;
        }
      }
      return { removed };
    },
    on: (event, listener) => signals.on(event, listener),
    async close() {
      sweep.cancel();
      sealer.stop();
      await writer.close();
    },
  };
  const sweep = every(
    clock,
    options.retentionPeriodMs ?? 60_000,
    async () => void (await store.retain()),
    (error) => log.error("retention failed; it is tried again", { error }),
  );
  return store;
}
