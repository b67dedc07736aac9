/**
 * A disk of its own for one folder, so that it can be full while the host's is not: a file system in a
 * file, mounted over the folder. A drill runs in a mount namespace of its own (site/observer.ts), so
 * that the mount ends with the drill's processes whatever became of it; see mount_namespaces(7).
 */
import { execFile } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { explain, SkerryError, systemCode } from "../../lib/errors.ts";

const run = promisify(execFile);
const commandTimeoutMs = 30_000;
/** A file system needs some blocks to describe so large a file. */
const restBlocks = 1024;

export type Volume = {
  /** Takes all that is free; whoever writes next is told that the disk is full. */
  fill(): Promise<void>;
  /** Gives it back. */
  free(): void;
  unmount(): Promise<void>;
};

/** Mounts `bytes` at `folder`, kept in the file `image`. Throws `drill-step-failed`. */
export async function mountVolume(options: {
  readonly folder: string;
  readonly image: string;
  readonly bytes: number;
}): Promise<Volume> {
  const { folder, image } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // A sparse file: it takes from the host's disk only what is written.
  writeFileSync(image, "");
  truncateSync(image, options.bytes);
  await command("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
  await command("mount", ["-o", "loop", image, folder]);
  // Whoever owns the folder expects it empty.
  rmSync(join(folder, "lost+found"), { recursive: true });
  const filler = join(folder, "filler");
  return {
    async fill() {
      const { bavail, bsize } = statfsSync(folder);
      // Nearly all of it at once; the rest, of which others take a part meanwhile, bit by bit.
      const most = (bavail - restBlocks) * bsize;
      if (most > 0) await command("fallocate", ["-l", String(most), filler]);
      fillUp(filler, Buffer.alloc(bsize));
    },
    free: () => rmSync(filler, { force: true }),
    async unmount() {
      // Also while somebody still has a file open there: whoever that is sees it until he ends.
      await command("umount", ["--lazy", folder]);
      rmSync(image, { force: true });
    },
  };
}

function fillUp(path: string, block: Uint8Array): void {
  const file = openSync(path, "a", 0o600);
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if (systemCode(error) !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}

async function command(file: string, args: readonly string[]): Promise<void> {
  try {
    await run(file, args, { timeout: commandTimeoutMs });
  } catch (error) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `${file} ${args.join(" ")}: ${explain(error)}`,
      hint: "a disk that can be full needs root and loop devices: apt-get install -y mount e2fsprogs",
      cause: error,
    });
  }
}
