/** Streams of cells in the hub's SQLite file, as queries walk them. */
import type { Database } from "../../../runtime/sqlite/index.ts";
import { openStreams, type GlobalEntryReading } from "../../queries/entries.ts";
import { createNames } from "../../tables/names.ts";

export const createSqliteEntryReading = (db: Database): GlobalEntryReading => ({
  open(stream, cell) {
    const names = createNames(db);
    const known = names.streams().filter(({ scope }) => cell === undefined || scope === cell);
    const streams = known.filter(({ name }) => name === stream);
    if (streams.length === 0) return { known: known.map(({ name }) => name) };
    const { view, page } = openStreams(db, names, streams);
    return {
      view,
      page(query) {
        const { rows, ...rest } = page(query);
        return { rows: rows.map(({ scope, ...row }) => ({ ...row, cell: scope })), ...rest };
      },
    };
  },
});
