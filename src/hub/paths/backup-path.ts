/**
 * The way of cells' backups to the hub: sealed to a key that the hub does not have, one folder for
 * each node that sends, so that no machine of a cell can make another's backups give way.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  defaultRetention,
  lookIntoFolder,
  openBackupFolder,
  serveCopies,
  type BackupFolder,
  type BackupMeta,
} from "../../backup/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { silentLog } from "../../lib/log.ts";
import type { Router } from "../../transport/index.ts";
import type { HubGround } from "../ground.ts";

/** `HUB/backups/CELL/NODE` */
export const hubBackupsFolder = (dataDir: string) => join(dataDir, "backups");

/** Of each node of a cell; a day of hours and a week of days of a cell with ten thousand objects. */
const retention = { ...defaultRetention, bytesMax: 256 * 2 ** 20 };

export function startBackupPath(
  ground: HubGround,
  deps: { router: Router; cellOf: (trustDomain: string) => string | undefined },
): void {
  const { log, dataDir } = ground;
  const folders = new Map<string, Promise<BackupFolder>>();
  const open = (path: string) => {
    const known = folders.get(path);
    if (known) return known;
    const opened = openBackupFolder({ log }, { folder: path, retention });
    folders.set(path, opened);
    // One that could not be opened is tried again with the next request.
    opened.catch(() => folders.delete(path));
    return opened;
  };
  serveCopies(deps.router, {
    async folderOf(peer) {
      const cell = deps.cellOf(peer.trustDomain);
      const [kind, node] = peer.path;
      if (cell !== undefined && kind === "node" && node !== undefined)
        return await open(join(hubBackupsFolder(dataDir), cell, node));
      throw new SkerryError({
        code: "forbidden",
        message: `${peer.id} is not a node of an enrolled cell`,
        hint: "enrol the cell at this hub first",
      });
    },
    refusal: () => undefined,
  });
}

/** All that a hub's folder holds, newest first, for the command line on the same machine. */
export async function hubBackups(
  dataDir: string,
): Promise<readonly (BackupMeta & { readonly path: string })[]> {
  const root = hubBackupsFolder(dataDir);
  if (!existsSync(root)) return [];
  const folders = readdirSync(root).flatMap((cell) =>
    readdirSync(join(root, cell)).map((node) => join(root, cell, node)),
  );
  const found = await Promise.all(
    folders.map((folder) => lookIntoFolder({ log: silentLog }, folder)),
  );
  return found.flat().toSorted((a, b) => b.atMs - a.atMs);
}
