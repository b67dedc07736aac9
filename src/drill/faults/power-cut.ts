/**
 * Power for a folder: processes started with `env` work in it under the shim; when the power is cut
 * and they are all dead, `restore` leaves the folder as a disk may be found (see power-cut-model.ts).
 * Before that the log is held against the folder, so that a change which the shim did not see is an
 * error of the harness and never a kind power cut.
 */
import { readFileSync, realpathSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { nameSuffix, type Random } from "../../lib/random.ts";
import { systemRandom } from "../../runtime/clock/index.ts";
import { differences, mappedContent, readFolder, writeFolder } from "./power-cut-folder.ts";
import { createPowerLog } from "./power-cut-log.ts";
import { createDisk, presentTree, treeAfterCut, type Tree } from "./power-cut-model.ts";

export type Power = Disposable & {
  /** For every process that changes the folder. */
  readonly env: Readonly<Record<string, string>>;
  /** Changes and fsyncs so far. */
  readonly changes: number;
  /** How far the log has come. */
  readonly position: number;
  readonly isCut: boolean;
  /** No change passes any more: whoever tries one gets SIGKILL. Who tries none lives on: kill it. */
  cut(): void;
  /** The power goes at this change, counted from 1. */
  cutAt(change: number): void;
  /** What the log does not explain of the folder: empty when the shim saw everything. */
  unexplained(): string[];
  /**
   * Makes the folder what the disk may hold, and gives the power back. To be called when no process
   * uses the folder any more. Throws `drill-step-failed` when the log does not explain the folder.
   */
  restore(random: Random): void;
  /** Writes to another folder what the disk may hold had the power failed when the log was this long. */
  restoreAt(position: number, target: string, random: Random): void;
};

export type PowerOptions = {
  readonly folder: string;
  /** Built by `buildShim`. */
  readonly shim: string;
  /** Paths, relative to the folder, that processes without the shim write, such as pods. */
  readonly isForeign?: (relative: string) => boolean;
  /** An fsync of this path is not logged: for the proof that the harness notices. */
  readonly ignoreSyncOf?: string;
};

const logBytesMax = 8 * 1024 ** 3;

/** Takes what the folder holds now as durable. */
export function attachPower(options: PowerOptions): Power {
  const folder = realpathSync(options.folder);
  const isForeign = options.isForeign ?? (() => false);
  const { path, bytes } = roomForLog();
  let log = createPowerLog(path, bytes);
  let before = readFolder(folder);

  const replay = (position?: number) => {
    const disk = createDisk(before);
    for (const change of log.read(position)) disk.apply(change);
    if (disk.unmodelled.length > 0) throw failed(disk.unmodelled.join("; "));
    return disk;
  };
  const unexplainedBy = ({ root }: ReturnType<typeof replay>) =>
    differences(folder, { tree: presentTree(root), rootInDoubt: root.inDoubt }, isForeign);
  const write = (disk: ReturnType<typeof replay>, target: string, random: Random) => {
    const tree = treeAfterCut(disk.root, random);
    const mapped = mappedFiles(folder, tree, random);
    writeFolder(target, tree, (at) => mapped.get(at.slice(target.length)) ?? Buffer.alloc(0));
  };

  return {
    env: {
      LD_PRELOAD: options.shim,
      SKERRY_POWER_CUT_LOG: path,
      SKERRY_POWER_CUT_FOLDER: folder,
      ...(options.ignoreSyncOf === undefined
        ? {}
        : { SKERRY_POWER_CUT_IGNORE_SYNC: options.ignoreSyncOf }),
    },
    get changes() {
      return log.changes;
    },
    get position() {
      return log.position;
    },
    get isCut() {
      return log.isCut();
    },
    cut: () => log.cut(),
    cutAt: (change) => log.cutAt(change),
    unexplained: () => unexplainedBy(replay()),
    restore(random) {
      const disk = replay();
      const unexplained = unexplainedBy(disk);
      if (unexplained.length > 0)
        throw failed(`the log does not explain ${folder}: ${unexplained.join("; ")}`);
      write(disk, folder, random);
      log.close();
      log = createPowerLog(path, bytes);
      before = readFolder(folder);
    },
    restoreAt(position, target, random) {
      write(replay(position), target, random);
    },
    [Symbol.dispose]() {
      log.close();
      rmSync(path, { force: true });
    },
  };
}

/** What is found in place of the `-shm` files, by path from the folder. */
function mappedFiles(folder: string, tree: Tree, random: Random): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const look = (at: string, entries: Tree) => {
    for (const [name, node] of entries) {
      const here = `${at}/${name}`;
      if (node.kind === "directory") look(here, node.entries);
      else if (node.mapped) found.set(here, mappedContent(readIfThere(folder + here), random));
    }
  };
  look("", tree);
  return found;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

const freeBytes = (path: string) => {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
};

/** In memory where there is enough of it: for the log, which sees every byte, and for disks to look at. */
export function roomyFolder(): string {
  const inMemory = "/dev/shm";
  return freeBytes(inMemory) >= logBytesMax ? inMemory : tmpdir();
}

function roomForLog(): { path: string; bytes: number } {
  const folder = roomyFolder();
  return {
    path: join(folder, `skerry-power-${process.pid}-${nameSuffix(systemRandom, 8)}`),
    bytes: Math.min(logBytesMax, Math.floor(freeBytes(folder) / 2)),
  };
}

const failed = (message: string) => new SkerryError({ code: "drill-step-failed", message });
