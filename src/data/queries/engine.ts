/**
 * Queries of several callers over a few read-only connections: each in a snapshot of its own, in
 * slices, so that a dear one does not hold up the others. Runs in a thread of its own; the writer's
 * thread and its locks are not touched (Q5).
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { openDatabase, sqliteFailure, type Database } from "../../runtime/sqlite/index.ts";
import { unknownCollection } from "../documents/check.ts";
import type { Query, QueryPage } from "./query.ts";
import { createReads, type Reads } from "./reads.ts";
import { runQuery } from "./run.ts";

export type DocumentsRequest = {
  readonly collection: string;
  /** Declared collections without a document are empty, not unknown. */
  readonly isDeclared: boolean;
  readonly query: Query;
};

export interface QueryEngine {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`, `closed`. */
  documents(request: DocumentsRequest): Promise<QueryPage>;
  close(): void;
}

const connectionsMax = 4;
const waitingMax = 64;
/** How long one query works before the next one's turn. */
const sliceMs = 10;
/** Declared, and without a document yet. */
const noCollection = -1;

type Connection = { readonly db: Database; readonly reads: Reads };

/** `path`: the documents' database, which exists. */
export function createQueryEngine(
  { clock }: { clock: Clock },
  { path }: { path: string },
): QueryEngine {
  const idle: Connection[] = [];
  const waiting: ((connection: Connection | undefined) => void)[] = [];
  let open = 0;
  let isClosed = false;

  const take = async (): Promise<Connection> => {
    const free = idle.pop();
    if (free) return free;
    if (open < connectionsMax && !isClosed) {
      const db = openDatabase(path, { readOnly: true });
      open++;
      return { db, reads: createReads(db) };
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
      : await new Promise<Connection | undefined>((resolve) => void waiting.push(resolve));
    if (given) return given;
    throw new SkerryError({ code: "closed", message: "queries ended here", retryable: true });
  };
  const giveBack = (connection: Connection) => {
    const next = waiting.shift();
    if (next) next(connection);
    else if (isClosed) connection.db.close();
    else idle.push(connection);
  };

  return {
    async documents({ collection, isDeclared, query }) {
      const connection = await take();
      const { reads } = connection;
      const endMs = clock.monotonicMs() + query.timeoutMs;
      reads.begin();
      try {
        const found = reads.collection(collection);
        if (!found && !isDeclared) throw new SkerryError(unknownCollection(collection, []));
        const { number, documents } = found ?? { number: noCollection, documents: 0 };
        const isOver = () => isClosed || clock.monotonicMs() >= endMs;
        return await inSlices(
          clock,
          runQuery(reads, { collection, number, documents, query, isOver }),
        );
      } catch (error) {
        throw sqliteFailure(error, path);
      } finally {
        reads.end();
        giveBack(connection);
      }
    },
    close() {
      isClosed = true;
      for (const { db } of idle.splice(0)) db.close();
      for (const wake of waiting.splice(0)) wake(undefined);
    },
  };
}

/** Steps through the work, and lets others in when its slice is used up. */
async function inSlices<T>(clock: Clock, work: Generator<void, T>): Promise<T> {
  for (let untilMs = clock.monotonicMs() + sliceMs; ;) {
    const step = work.next();
    if (step.done) return step.value;
    if (clock.monotonicMs() < untilMs) continue;
    await clock.sleep(0);
    untilMs = clock.monotonicMs() + sliceMs;
  }
}
