/**
 * A hub's SQLite store read as pieces of logs, oldest first by arrival, for another store to take: what
 * that has already is passed over, so that a walk that was cut short goes on. The hub must not run.
 */
import type { StoredEntry } from "../../../api/index.ts";
import { openDatabase, sqliteFailure } from "../../../runtime/sqlite/index.ts";
import type { LogBatch, Vector } from "../../streams/store.ts";
import { createNames } from "../../tables/names.ts";
import { rowColumns, toSealedRow } from "../../tables/rows.ts";
import { prepareTables } from "../../tables/schema.ts";

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
const pieceBytes = 2 * 1024 * 1024;

/** Throws `store-damaged`, `store-newer` or `store-unavailable`. */
export function walkGlobalStore(path: string): GlobalWalk {
  const db = openDatabase(path);
  try {
    prepareTables(db, path);
    const names = createNames(db);
    const view = db.prepare("SELECT value FROM meta WHERE name = 'view'").get()?.["value"];
    const streams = names.streams();
    const cells = [...new Set(streams.map(({ scope }) => scope))].sort();
    const cellByOrigin = new Map(
      db
        .prepare("SELECT id, scope FROM origin")
        .all()
        .map((row) => [Number(row["id"]), String(row["scope"])]),
    );
    const counts = new Map(streams.map(({ scope, name }) => [`${scope}/${name}`, 0]));
    for (const row of db
      .prepare("SELECT stream, count(*) AS rows FROM entry GROUP BY stream")
      .all()) {
      const { scope, name } = names.streamById(Number(row["stream"]));
      counts.set(`${scope}/${name}`, Number(row["rows"]));
    }
    return {
      view: view === undefined ? undefined : String(view),
      cells,
      counts,
      *batches(tops) {
        const rows = db.prepare(
          `SELECT ${rowColumns} FROM entry WHERE id > ? ORDER BY id LIMIT ${pieceRows}`,
        );
        const sentTo = new Map<number, number>();
        for (const [id, cell] of cellByOrigin)
          sentTo.set(id, tops.get(cell)?.[names.originById(id).name] ?? 0);
        const batchOf = (origin: number, to: number, entries: readonly StoredEntry[]) => {
          const { name } = names.originById(origin);
          const from = (sentTo.get(origin) ?? 0) + 1;
          sentTo.set(origin, to);
          return {
            cell: cellByOrigin.get(origin) ?? "",
            batch: { origin: name, from, to, entries },
          };
        };
        for (let afterId = 0; ;) {
          const entriesByOrigin = new Map<number, StoredEntry[]>();
          let bytes = 0;
          let last: number | undefined;
          for (const found of rows.iterate(afterId)) {
            if (bytes >= pieceBytes) break;
            const row = toSealedRow(found);
            last = row.id;
            if (row.sequence <= (sentTo.get(row.origin) ?? 0)) continue;
            bytes += row.body.length;
            const entries = entriesByOrigin.get(row.origin) ?? [];
            entriesByOrigin.set(row.origin, entries);
            entries.push({
              stream: names.streamById(Number(found["stream"])).name,
              atMs: row.atMs,
              ...(row.key
                ? { key: { ...row.key, producer: names.producerById(row.key.producer) } }
                : {}),
              body: row.body,
              position: { origin: names.originById(row.origin).name, sequence: row.sequence },
            });
          }
          if (last === undefined) break;
          afterId = last;
          yield [...entriesByOrigin].map(([origin, entries]) =>
            batchOf(origin, entries.at(-1)?.position.sequence ?? 0, entries),
          );
        }
        // Behind the last entry: positions that held nothing that may leave.
        yield [...cellByOrigin.keys()]
          .filter((origin) => names.originById(origin).top > (sentTo.get(origin) ?? 0))
          .map((origin) => batchOf(origin, names.originById(origin).top, []));
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
