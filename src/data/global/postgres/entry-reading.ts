/** Streams of cells in PostgreSQL, as queries walk them: for a thread that waits. */
import type { GlobalEntryReading } from "../../queries/entries.ts";
import type { Dialect } from "./dialect.ts";
import { findStreams, readPage, toStreamRow, type Asking } from "./reads.ts";

export function createPostgresEntryReading(sql: Pick<Dialect, "read">): GlobalEntryReading {
  const ask = <T>(asking: Asking<T>): T => {
    let step = asking.next();
    while (!step.done) step = asking.next(sql.read(step.value));
    return step.value;
  };
  return {
    open(name, cell) {
      const known = ask(findStreams(cell === undefined ? {} : { cell })).map(toStreamRow);
      const streams = known.filter((stream) => stream.name === name);
      if (streams.length === 0) return { known: known.map((stream) => stream.name) };
      const [view] = sql.read({ text: "SELECT token FROM skerry.view" });
      return {
        view: String(view?.["token"]),
        page: (query) => ask(readPage({ streams, ...query })),
      };
    },
  };
}
