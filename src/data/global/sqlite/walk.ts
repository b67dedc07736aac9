/**
 * A hub's SQLite store read as pieces of logs, oldest first by arrival, for another store to take: what
 * that has already is passed over, so that a walk that was cut short goes on. The hub must not run.
 */
import type { StoredEntry } from "../../../api/index.ts";
import { openDatabase, sqliteFailure } from "../../../runtime/sqlite/index.ts";
import type { LogBatch, Vector } from "../../streams/store.ts";
import type { Row } from "../../tables/entry-reads.ts";
import { createEntryTable } from "../../tables/entry-table.ts";
import { createNames } from "../../tables/names.ts";
import { prepareTables } from "../../tables/schema.ts";
import { createSegments } from "../../tables/segments.ts";

export interface GlobalWalk {
  /** Names this store among all; undefined before its first start. */
  readonly view: string | undefined;
  readonly cells: readonly string[];
  /** Entries that are here, by `CELL/STREAM`. */
  readonly counts: ReadonlyMap<string, number>;
  /** `tops`: what the other store has of each cell. One piece of each log at a time. */
  batches(
    tops: ReadonlyMap<string, Vector>,
  ): Generator<readonly { readonly cell: string; readonly batch: LogBatch }[]>;
  close(): void;
}

const pieceRows = 5000;
const allTimes = { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER };
const toEntry = ({ id: _id, scope: _scope, ...entry }: Row): StoredEntry => entry;

/** Throws `store-damaged`, `store-newer` or `store-unavailable`. */
export function walkGlobalStore(path: string): GlobalWalk {
  const db = openDatabase(path);
  try {
    prepareTables(db, path);
    const names = createNames(db);
    const view = db.prepare("SELECT value FROM meta WHERE name = 'view'").get()?.["value"];
    const segments = createSegments(db, names);
    const entries = createEntryTable(db, { names, segments });
    const streams = names.streams();
    const cells = [...new Set(streams.map(({ scope }) => scope))].sort();
    const rowsOf = db.prepare("SELECT count(*) AS rows FROM entry WHERE stream = ?");
    const counts = new Map(
      streams.map((stream) => [
        `${stream.scope}/${stream.name}`,
        Number(rowsOf.get(stream.id)?.["rows"]) + segments.sealed(stream).entries,
      ]),
    );
    return {
      view: view === undefined ? undefined : String(view),
      cells,
      counts,
      *batches(tops) {
        const logs = cells.flatMap((cell) =>
          names.origins(cell).map(({ name, top }) => ({
            cell,
            name,
            top,
            sent: tops.get(cell)?.[name] ?? 0,
          })),
        );
        type Log = (typeof logs)[number];
        const logByName = new Map(logs.map((log) => [`${log.cell}/${log.name}`, log]));
        const batchOf = (log: Log, to: number, found: readonly StoredEntry[]) => {
          const from = log.sent + 1;
          log.sent = to;
          return { cell: log.cell, batch: { origin: log.name, from, to, entries: found } };
        };
        for (let afterId = 0, more = true; more;) {
          const page = entries.page({ streams, afterId, limit: pieceRows, ...allTimes });
          ({ lastId: afterId, more } = page);
          const fresh = page.rows.filter(
            ({ scope, position: { origin, sequence } }) =>
              sequence > (logByName.get(`${scope}/${origin}`)?.sent ?? 0),
          );
          const found = Map.groupBy(fresh, (row) =>
            logByName.get(`${row.scope}/${row.position.origin}`),
          );
          yield [...found].flatMap(([log, rows]) =>
            log ? [batchOf(log, rows.at(-1)?.position.sequence ?? 0, rows.map(toEntry))] : [],
          );
        }
        // Behind the last entry: positions that held nothing that may leave.
        yield logs.filter(({ top, sent }) => top > sent).map((log) => batchOf(log, log.top, []));
      },
      close() {
        if (db.isOpen) db.close();
      },
    };
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
}
