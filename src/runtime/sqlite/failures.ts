/** What SQLite and the disk below it throw, in the words of a store. */
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { SkerryError, systemCode } from "../../lib/errors.ts";

/** SQLite's primary result codes (sqlite.org/rescode.html); extended codes carry them in the low byte. */
const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;
/** Extended: a write failed, for any reason but ENOSPC (os_unix.c, `unixWrite`). */
const SQLITE_IOERR_WRITE = 778;
/** Extended: the readers' marks could not be made, which takes a few blocks. */
const SQLITE_IOERR_SHMSIZE = 4874;

/** Translates what SQLite throws; anything else comes back unchanged. */
export function sqliteFailure(error: unknown, path: string): unknown {
  if (error instanceof SkerryError || !(error instanceof Error) || !("errcode" in error))
    return error;
  switch (Number(error.errcode) & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(path, error);
    case SQLITE_FULL:
      return diskFull(path, error);
    case SQLITE_IOERR:
      return error.errcode === SQLITE_IOERR_WRITE && isOutOfRoom(path)
        ? diskFull(path, error)
        : storageFailed(path, error);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return new SkerryError({
        code: "store-locked",
        message: `another process holds ${path}`,
        hint: "is a second agent running on this data folder? Stop one of them",
        retryable: true,
        cause: error,
      });
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return cannotOpen(path, error);
    default:
      return error;
  }
}

/**
 * As `sqliteFailure`, for a database that is being opened: nothing is under way there that could be half
 * done, so missing room for the readers' marks is no failure of the disk.
 */
export function openFailure(error: unknown, path: string): unknown {
  const isShort =
    error instanceof Error && "errcode" in error && error.errcode === SQLITE_IOERR_SHMSIZE;
  return isShort ? diskFull(path, error) : sqliteFailure(error, path);
}

const probeBytes = 64 * 1024;
const chunkBytes = 1024 * 1024;

/**
 * Whether the folder of `path` does not take so much more: the disk is full, or a quota on it used up, of
 * which SQLite says no more than that a write failed, and `statfs` often nothing.
 */
export function isOutOfRoom(path: string, bytes = probeBytes): boolean {
  try {
    const probe = `${path}.room`;
    const file = openSync(probe, "w", 0o600);
    try {
      // Whatever becomes of this process, its room is given back.
      unlinkSync(probe);
      const chunk = new Uint8Array(Math.min(bytes, chunkBytes));
      for (let written = 0; written < bytes;) written += writeSync(file, chunk);
      return false;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return isOfRoom(error);
  }
}

/** Whether the kernel refused something for want of room. */
export const isOfRoom = (error: unknown): boolean =>
  systemCode(error) === "ENOSPC" || systemCode(error) === "EDQUOT";

const diskFull = (path: string, cause: unknown) =>
  new SkerryError({
    code: "disk-full",
    message: `no space left for ${path}`,
    hint: "free space on this disk; what was acknowledged is safe, the refused write changed nothing",
    retryable: true,
    cause,
  });

export const storageFailed = (path: string, cause: unknown) =>
  new SkerryError({
    code: "storage-failed",
    message: `the disk failed under ${path}`,
    hint: "check the disk (dmesg, smartctl); nothing more is acknowledged until the agent is restarted",
    cause,
  });

const cannotOpen = (path: string, cause: unknown) =>
  new SkerryError({
    code: "store-unavailable",
    message: `cannot open ${path}`,
    hint: "check that the folder exists and belongs to the user Skerry runs as",
    cause,
  });

export function damaged(path: string, cause: Error): SkerryError {
  return new SkerryError({
    code: "store-damaged",
    message: `${path} is damaged`,
    hint: "move the file (with its -wal and -shm) away; other nodes and the hub hold copies of what they acknowledged",
    cause,
  });
}

/** What making the folder or the file throws, in the words of a store. */
export function folderFailure(error: unknown, path: string): unknown {
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return diskFull(path, error);
    case "EEXIST":
    case "EISDIR":
    case "ENOTDIR":
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return cannotOpen(path, error);
    default:
      return error;
  }
}
