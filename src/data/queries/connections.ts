/**
 * A few read-only connections to one file, shared by queries: each in a snapshot of its own, in
 * slices, so that a dear one does not hold up the others (Q4, Q5).
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { openDatabase, sqliteFailure, type Database } from "../../runtime/sqlite/index.ts";

export interface Connections<Reads> {
  /** Throws `store-busy`, `closed`, and what the work throws. */
  use<T>(work: (reads: Reads) => Generator<void, T>): Promise<T>;
  readonly isClosed: boolean;
  close(): void;
}

const connectionsMax = 4;
const waitingMax = 64;
/** How long one query works before the next one's turn. */
const sliceMs = 10;

type Connection<Reads> = { readonly db: Database; readonly reads: Reads };

/** `path`: a database that exists. */
export function createConnections<Reads>(
  { clock }: { clock: Clock },
  { path, reading }: { path: string; reading: (db: Database) => Reads },
): Connections<Reads> {
  const idle: Connection<Reads>[] = [];
  const waiting: ((connection: Connection<Reads> | undefined) => void)[] = [];
  let open = 0;
  let isClosed = false;

  const take = async (): Promise<Connection<Reads>> => {
    const free = idle.pop();
    if (free) return free;
    if (open < connectionsMax && !isClosed) {
      const db = openDatabase(path, { readOnly: true });
      open++;
      return { db, reads: reading(db) };
    }
    if (waiting.length >= waitingMax) {
      throw new SkerryError({
        code: "store-busy",
        message: `${waiting.length} queries wait on this node`,
        hint: "ask again in a moment, or another node",
        retryable: true,
      });
    }
    const given = isClosed
      ? undefined
      : await new Promise<Connection<Reads> | undefined>((resolve) => void waiting.push(resolve));
    if (given) return given;
    throw new SkerryError({ code: "closed", message: "queries ended here", retryable: true });
  };
  const giveBack = (connection: Connection<Reads>) => {
    const next = waiting.shift();
    if (next) next(connection);
    else if (isClosed) connection.db.close();
    else idle.push(connection);
  };

  return {
    async use(work) {
      const connection = await take();
      const { db, reads } = connection;
      db.exec("BEGIN");
      try {
        return await inSlices(clock, work(reads));
      } catch (error) {
        throw sqliteFailure(error, path);
      } finally {
        db.exec("COMMIT");
        giveBack(connection);
      }
    },
    get isClosed() {
      return isClosed;
    },
    close() {
      isClosed = true;
      for (const { db } of idle.splice(0)) db.close();
      for (const wake of waiting.splice(0)) wake(undefined);
    },
  };
}

/** Steps through the work, and lets others in when its slice is used up. */
export async function inSlices<T>(clock: Clock, work: Generator<void, T>): Promise<T> {
  for (let untilMs = clock.monotonicMs() + sliceMs; ;) {
    const step = work.next();
    if (step.done) return step.value;
    if (clock.monotonicMs() < untilMs) continue;
    await clock.sleep(0);
    untilMs = clock.monotonicMs() + sliceMs;
  }
}
