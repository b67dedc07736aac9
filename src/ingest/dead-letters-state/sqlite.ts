/**
 * Dead letters in `dead-letters.db`, in the storage thread. No commit of it waits for the disk
 * (`synchronous=NORMAL`): it must not take an fsync from entries that were not refused. There is no file
 * on a node that refused nothing.
 */
import { existsSync } from "node:fs";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import {
  createGroupCommit,
  openDatabase,
  prepareLayout,
  setAside,
  type Database,
  type Writer,
} from "../../runtime/sqlite/index.ts";
import type { DeadLetterStore, LetterBatch, SavedLetter } from "./state.ts";

export type DeadLetterFile = DeadLetterStore & { close(): Promise<void> };

const steps = [
  "CREATE TABLE letter (id INTEGER PRIMARY KEY, json TEXT NOT NULL, payload BLOB) STRICT",
];
/** Above what the letters in memory come to at most, with what SQLite has free in between. */
const fileBytesMax = 16 * 1024 * 1024;
const logPages = 250;
const aside = ".damaged";

/**
 * The file is opened by the first call that needs it; a damaged one is set aside as `PATH.damaged`.
 * Calls throw `disk-full`, `store-newer` or `store-unavailable`.
 */
export function openDeadLetterFile(
  { log }: { readonly log: Log },
  { path }: { readonly path: string },
): DeadLetterFile {
  let opened: { readonly db: Database; readonly writer: Writer } | undefined;

  const open = () => {
    const db = openDatabase(path, { synchronous: "normal", check: true, logPages, fileBytesMax });
    try {
      prepareLayout(db, { path, steps });
      return { db, writer: createGroupCommit(db, { path }) };
    } catch (error) {
      db.close();
      throw error;
    }
  };
  const ready = () => {
    try {
      opened ??= open();
    } catch (error) {
      if (!(error instanceof SkerryError) || error.code !== "store-damaged") throw error;
      setAside(path, aside);
      log.error("dead letters are lost: their file was damaged", {
        ...{ path, kept: `${path}${aside}`, error },
      });
      opened = open();
    }
    return opened;
  };

  return {
    load: async () => (existsSync(path) ? read(ready().db) : []),
    async apply({ put, gone }: LetterBatch) {
      const { db, writer } = ready();
      await writer.write(() => {
        const remove = db.prepare("DELETE FROM letter WHERE id = ?");
        for (const id of gone) remove.run(id);
        const save = db.prepare(
          "INSERT OR REPLACE INTO letter (id, json, payload) VALUES (?, ?, ?)",
        );
        for (const { id, json, payload } of put) save.run(id, json, payload ?? null);
      });
    },
    close: async () => opened?.writer.close(),
  };
}

const read = (db: Database): SavedLetter[] =>
  db
    .prepare("SELECT id, json, payload FROM letter ORDER BY id")
    .all()
    .map(({ id, json, payload }) => ({
      id: Number(id),
      json: String(json),
      ...(payload instanceof Uint8Array ? { payload } : {}),
    }));
