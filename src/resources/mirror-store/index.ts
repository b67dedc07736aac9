/**
 * The mirror on disk: `mirror.db`, one row an object. It is a copy, so a file that cannot be read is
 * set aside and built anew rather than keeping a node from starting. Lives in the storage thread.
 */
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import {
  closingOnFailure,
  createGroupCommit,
  databaseFiles,
  openDatabase,
  type Database,
  type Writer,
} from "../../runtime/sqlite/index.ts";
import type { Thread } from "../../runtime/thread/index.ts";

export type MirroredKey = {
  /** `GROUP/PLURAL` */
  readonly resource: string;
  /** `NAMESPACE/NAME`, with an empty namespace for kinds that have none. */
  readonly key: string;
};
/** `json` is the object as text. */
export type MirroredObject = MirroredKey & { readonly json: string };

export type MirrorBatch = {
  /** What is not in `put` goes. */
  readonly replace: boolean;
  readonly put: readonly MirroredObject[];
  readonly delete: readonly MirroredKey[];
};

/** Keeps what a mirror knows over restarts. Plain data only, so that it can stand in another thread. */
export interface MirrorStore {
  load(): Promise<readonly MirroredObject[]>;
  /** Durable when it resolves; all of it or nothing. */
  apply(batch: MirrorBatch): Promise<void>;
}

export type MirrorStoreFile = MirrorStore & { close(): Promise<void> };

/** Files with another layout are as good as damaged: what they hold can be had again. */
const layoutVersion = 1;

/** Throws `disk-full` or `store-unavailable`; a damaged file is set aside beside itself. */
export function openMirrorStore(
  deps: { clock: Clock; log: Log },
  options: { path: string },
): MirrorStoreFile {
  const { path } = options;
  const log = deps.log.child({ room: "resources" });
  let file = openOrRebuild();

  function openOrRebuild(): { db: Database; writer: Writer } {
    try {
      return openFile(path);
    } catch (error) {
      if (!isDamaged(error)) throw error;
      setAside(error);
      return openFile(path);
    }
  }

  function setAside(error: unknown): void {
    const aside = `${path}.damaged-${deps.clock.wallMs()}`;
    // One is kept for whoever wants to know what happened; more would fill the disk.
    const earlier = readdirSync(dirname(path)).filter((name) =>
      name.startsWith(`${basename(path)}.damaged-`),
    );
    for (const name of earlier) rmSync(join(dirname(path), name), { force: true });
    if (existsSync(path)) renameSync(path, aside);
    for (const file of databaseFiles(path)) rmSync(file, { force: true });
    log.error("the mirror of desired state is damaged and was set aside; it is built anew", {
      path,
      aside,
      error,
    });
  }

  return {
    async load() {
      const rows = file.db.prepare("SELECT resource, key, json FROM object").all();
      return rows as unknown as MirroredObject[];
    },
    async apply(batch) {
      try {
        await file.writer.write(() => write(file.db, batch));
      } catch (error) {
        if (isDamaged(error)) {
          await file.writer.close();
          setAside(error);
          file = openFile(path);
        }
        throw error;
      }
    },
    close: () => file.writer.close(),
  };
}

function openFile(path: string): { db: Database; writer: Writer } {
  const db = openDatabase(path);
  closingOnFailure({ db, path }, () => prepareTables(db, path));
  return { db, writer: createGroupCommit(db, { path }) };
}

function prepareTables(db: Database, path: string): void {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as {
    user_version: number;
  };
  if (version !== 0 && version !== layoutVersion) {
    throw new SkerryError({
      code: "store-damaged",
      message: `${path} has layout ${version}, this version of Skerry knows ${layoutVersion}`,
    });
  }
  db.exec(
    "CREATE TABLE IF NOT EXISTS object (resource TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (resource, key)) STRICT, WITHOUT ROWID",
  );
  db.exec(`PRAGMA user_version = ${layoutVersion}`);
}

function write(db: Database, batch: MirrorBatch): void {
  if (batch.replace) db.exec("DELETE FROM object");
  const put = db.prepare(
    "INSERT INTO object (resource, key, json) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET json = excluded.json",
  );
  const remove = db.prepare("DELETE FROM object WHERE resource = ? AND key = ?");
  for (const { resource, key } of batch.delete) remove.run(resource, key);
  for (const { resource, key, json } of batch.put) put.run(resource, key, json);
}

function isDamaged(error: unknown): boolean {
  return error instanceof SkerryError && error.code === "store-damaged";
}

/* Behind runtime/thread */

/** `type`, not `interface`: it is part of a thread's methods. */
export type MirrorStoreMethods = {
  "mirror.load": (argument: undefined) => Promise<readonly MirroredObject[]>;
  "mirror.apply": (batch: MirrorBatch) => Promise<void>;
};

/** For `serveThread`, in the thread that opened the store. */
export function serveMirrorStore(store: MirrorStore): MirrorStoreMethods {
  return {
    "mirror.load": () => store.load(),
    "mirror.apply": (batch) => store.apply(batch),
  };
}

/** The calling side. */
export function connectMirrorStore(thread: MirrorThread): MirrorStore {
  return {
    load: () => thread.call("mirror.load", undefined),
    apply: (batch) => thread.call("mirror.apply", batch),
  };
}

/** What the calling side needs of a thread that serves a mirror's store, whatever else it serves. */
export type MirrorThread = Pick<Thread<MirrorStoreMethods>, "call">;
