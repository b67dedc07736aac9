/**
 * Reads beside the hub's stores in PostgreSQL, for whoever reads a SQLite file through
 * `queries/connections.ts`: one after the other, each in a snapshot, on a connection of their own that
 * the first one opens. For a thread that may wait (`runtime/postgres/sync.ts`).
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { openSyncPostgres, type PostgresAddress } from "../../../runtime/postgres/index.ts";
import { inSlices, type Connections } from "../../queries/connections.ts";
import { createDialect, type Dialect } from "./dialect.ts";

const waitingMax = 64;

export function createPostgresReaders<Reads>(
  { clock }: { clock: Clock },
  {
    address,
    application,
    reading,
  }: {
    /** Of a database that has the tables. */
    address: PostgresAddress;
    /** As PostgreSQL lists the connection. */
    application: string;
    reading: (sql: Dialect) => Reads;
  },
): Omit<Connections<Reads>, "close"> & { close(): Promise<void> } {
  const open = () => {
    const postgres = openSyncPostgres(address, {
      application,
      setup: "SET search_path = skerry_documents",
    });
    const sql = createDialect(postgres);
    return { postgres, sql, reads: reading(sql) };
  };
  let opened: ReturnType<typeof open> | undefined;
  let isClosed = false;
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();
  return {
    get isClosed() {
      return isClosed;
    },
    async close() {
      isClosed = true;
      await opened?.postgres.close();
    },
    async use(work) {
      if (waiting >= waitingMax)
        throw new SkerryError({
          code: "store-busy",
          message: `${waiting} queries wait at this hub`,
          hint: "ask again in a moment",
          retryable: true,
        });
      waiting++;
      const run = async () => {
        waiting--;
        if (isClosed)
          throw new SkerryError({ code: "closed", message: "queries ended here", retryable: true });
        const { sql, reads } = (opened ??= open());
        try {
          sql.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
          const result = await inSlices(clock, work(reads));
          sql.commit();
          return result;
        } catch (error) {
          sql.rollback();
          throw error;
        }
      };
      const result = last.then(run);
      last = result.catch(() => undefined);
      return await result;
    },
  };
}
