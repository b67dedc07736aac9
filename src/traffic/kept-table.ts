/**
 * The last route table on disk, so that an ingress which starts anew routes at once and not only when
 * everything that makes a table is there. It is as old as the mirror from which the next one comes.
 */
import { explain } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { readRecord, writeRecordAsync } from "../runtime/files/index.ts";
import type { RouteTable } from "./routes/table.ts";

/** What another version of this program wrote is not read. */
const format = 1;

type Kept = { readonly format: number; readonly table: RouteTable };

export type KeptTable = {
  /** Undefined when there is none of this node that can be read. */
  read(): RouteTable | undefined;
  /** Returns at once; of tables that come faster than the disk the last one is written. */
  keep(table: RouteTable): void;
  /** Resolves when nothing is being written. */
  settled(): Promise<void>;
};

export function openKeptTable(
  { log }: { log: Log },
  { path, node }: { path: string; node: string },
): KeptTable {
  let waiting: RouteTable | undefined;
  let writing: Promise<void> | undefined;
  /** As text; of the table that was given last. */
  let last = "";

  /** Called with something that waits, so that it never ends before its promise is noted. */
  const write = async () => {
    while (waiting) {
      const table = waiting;
      waiting = undefined;
      try {
        await writeRecordAsync(path, { format, table } satisfies Kept, { durable: false });
      } catch (error) {
        last = "";
        log.warn("the routes were not kept: the ingress of a restarted agent will be back later", {
          because: explain(error),
        });
      }
    }
    writing = undefined;
  };

  return {
    read() {
      try {
        const kept = readRecord(path) as Kept | undefined;
        return kept?.format === format && kept.table.node === node ? kept.table : undefined;
      } catch (error) {
        // A power cut may tear what nobody waits for; the mirror makes it anew.
        log.info("the kept routes are not used", { because: explain(error) });
        return undefined;
      }
    },
    keep(table) {
      const text = JSON.stringify(table);
      if (text === last) return;
      last = text;
      waiting = table;
      writing ??= write();
    },
    settled: async () => writing,
  };
}
