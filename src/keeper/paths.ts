/** Where the keeper keeps what: everything below `DATA/keeper/`. */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { SkerryError } from "../lib/errors.ts";
import { ensureDirectory, readFileIfExists } from "../runtime/files/index.ts";

export type KeeperPaths = {
  readonly directory: string;
  /** Who the keeper is: pid, boot id, start time. */
  readonly lock: string;
  /** Holds the path of the socket. */
  readonly socketFile: string;
  readonly log: string;
  /** The agent's specification and identity. */
  readonly agent: string;
  readonly lease: string;
  /** A folder for each container. */
  readonly containers: string;
  /** What containers write, before it has become log lines. */
  readonly spool: string;
};

export function keeperPaths(dataDir: string): KeeperPaths {
  const directory = join(resolve(dataDir), "keeper");
  return {
    directory,
    lock: join(directory, "lock"),
    socketFile: join(directory, "socket"),
    log: join(directory, "keeper.log"),
    agent: join(directory, "agent"),
    lease: join(directory, "lease"),
    containers: join(directory, "containers"),
    spool: join(directory, "spool"),
  };
}

export function ensureKeeperFolders(paths: KeeperPaths): void {
  for (const path of [paths.directory, paths.containers, paths.spool]) ensureDirectory(path);
}

/** `sun_path` of unix(7) holds 108 bytes, the closing zero included; longer ones are cut silently. */
const socketPathBytesMax = 107;

/**
 * The socket's path: in the keeper's folder, or in a private folder below /tmp when that is too long
 * for a unix socket. Throws `socket-folder-unsafe` when somebody else made that folder.
 */
export function chooseSocketPath(paths: KeeperPaths): string {
  const beside = join(paths.directory, "keeper.sock");
  if (Buffer.byteLength(beside) <= socketPathBytesMax) return beside;
  const uid = process.getuid?.() ?? 0;
  const folder = `/tmp/skerry-${uid}`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new SkerryError({
      code: "socket-folder-unsafe",
      message: `${folder} is not a private folder of user ${uid}`,
      hint: `remove it, or use a data folder with a path below ${socketPathBytesMax - 20} bytes`,
    });
  }
  const name = createHash("sha256").update(paths.directory).digest("hex").slice(0, 24);
  return join(folder, `${name}.sock`);
}

/** Where the keeper of this folder listens, as it wrote down; undefined before the first. */
export function readSocketPath(paths: KeeperPaths): string | undefined {
  return readFileIfExists(paths.socketFile)?.toString().trim() || undefined;
}
