/**
 * The hub's documents in PostgreSQL: the store that stands on SQLite, over the same tables there. Who
 * writes holds one row locked from the beginning of its transaction to its end, so of all hub processes
 * one changes documents at a time; what a process knows in memory is good while that row says that
 * nobody else changed anything, and is read anew otherwise. Nothing is kept in the process: it may be
 * killed at any time, and a batch whose commit nobody heard of changes nothing when it comes again.
 * For a thread of its own: whoever calls waits for the database (`runtime/postgres/sync.ts`).
 */
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import {
  layoutLock,
  openPostgres,
  openSyncPostgres,
  placeOf,
  preparePostgresLayout,
  type PostgresAddress,
} from "../../../runtime/postgres/index.ts";
import { createIndexes } from "../../documents/indexes.ts";
import { createDocumentTables } from "../../documents/sqlite-tables.ts";
import type { OperationRecheck } from "../../ports.ts";
import type { GlobalDocumentStore } from "../documents.ts";
import {
  createGlobalDocuments,
  type DocumentGround,
  type GlobalDocumentsOptions,
} from "../sqlite/documents.ts";
import { createDialect, type Dialect } from "./dialect.ts";
import { documentSteps, documentsView } from "./documents-schema.ts";

export type PostgresDocumentsOptions = Omit<GlobalDocumentsOptions, "path"> & {
  readonly address: PostgresAddress;
};

const application = "skerry-hub-documents";

/** Throws what opening the streams' store throws. */
export async function openPostgresDocuments(
  deps: { clock: Clock; random: Random; log: Log; recheck: OperationRecheck },
  options: PostgresDocumentsOptions,
): Promise<GlobalDocumentStore> {
  const { address } = options;
  const { clock, log } = deps;
  const first = await openPostgres({ clock, log }, address, { application, connectionsMax: 1 });
  try {
    await preparePostgresLayout(first, { part: "documents", steps: documentSteps });
  } finally {
    await first.close();
  }
  const postgres = openSyncPostgres(address, {
    application,
    // Who does not say so is of a version without indexes here: what it writes drops them (`documents-schema.ts`).
    setup: "SET search_path = skerry_documents; SET skerry.keeps_indexes = 'on'",
  });
  const sql = createDialect(postgres);
  try {
    const shared = createShared(sql, log);
    const ground: DocumentGround = {
      db: sql,
      base: createDocumentTables(sql, createIndexes(sql)),
      createWriter: shared.createWriter,
    };
    sql.begin(`BEGIN; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(${layoutLock})`);
    const store = createGlobalDocuments(deps, ground, options);
    sql.exec(documentsView);
    sql.commit();
    log.info("documents are kept in PostgreSQL", { place: placeOf(address) });
    return shared.over(store, () => postgres.close());
  } catch (error) {
    await postgres.close();
    throw error;
  }
}

function createShared(sql: Dialect, log: Log) {
  const lockVersion = sql.prepare("SELECT version FROM changed FOR UPDATE");
  const readVersion = sql.prepare("SELECT version FROM changed");
  const nextVersion = sql.prepare("UPDATE changed SET version = version + 1");
  let forget = () => {};
  /** That what is known in memory is of; undefined: of none. */
  let known: number | undefined;
  const listeners = new Set<() => void>();
  const tell = () => {
    for (const listener of listeners) listener();
  };

  const transaction = <T>(begin: string, version: typeof lockVersion, work: () => T): T => {
    try {
      sql.begin(begin);
      const now = Number(version.get()?.["version"]);
      if (now !== known) {
        const isNews = known !== undefined;
        known = undefined;
        forget();
        known = now;
        // Another process may have published something.
        if (isNews) setImmediate(tell);
      }
      const wrote = version === lockVersion;
      const result = work();
      const isChanged = wrote && sql.hasWritten;
      if (isChanged) nextVersion.run();
      sql.commit();
      if (isChanged) known = now + 1;
      return result;
    } catch (error) {
      sql.rollback();
      known = undefined;
      throw error;
    }
  };
  const snapshot = <T>(work: () => T): T =>
    transaction("BEGIN ISOLATION LEVEL REPEATABLE READ", readVersion, work);

  return {
    createWriter: ((onRollback) => {
      forget = onRollback;
      return {
        async write(work) {
          // Not within the transaction that opens the store.
          await Promise.resolve();
          return transaction("BEGIN", lockVersion, work);
        },
        close: async () => {},
      };
    }) satisfies DocumentGround["createWriter"] as DocumentGround["createWriter"],

    over(store: GlobalDocumentStore, close: () => Promise<void>): GlobalDocumentStore {
      // What they do they have done when they answer a promise.
      return {
        ...store,
        feeds: async (cell, wishes) => snapshot(() => store.feeds(cell, wishes)),
        read: async (query) => snapshot(() => store.read(query)),
        list: async (query) => snapshot(() => store.list(query)),
        collections: async (cell) => snapshot(() => store.collections(cell)),
        publications: async () => snapshot(() => store.publications()),
        async index(cell, paths) {
          snapshot(() => undefined);
          await store.index(cell, paths);
        },
        async publish(publication) {
          snapshot(() => undefined);
          await store.publish(publication);
        },
        async pull(query) {
          snapshot(() => undefined);
          return await store.pull(query);
        },
        on(event, listener) {
          const off = store.on(event, listener);
          listeners.add(listener);
          return () => {
            off();
            listeners.delete(listener);
          };
        },
        async close() {
          await store.close();
          log.debug("documents in PostgreSQL are closed");
          await close();
        },
      };
    },
  };
}
