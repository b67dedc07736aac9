/** A disk that can really be full, and is nobody else's. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type SmallDisk = Disposable & {
  readonly path: string;
  readonly freeBytes: number;
  /** Another program takes all that is free but so much, and each time what became free. */
  fill(leavingBytes?: number): void;
  /** It gives everything back. */
  free(): void;
};

/** Mounts one at `folder`, which it makes. `size`: as mount(8) takes it, `24m`. */
export function smallDisk(folder: string, size: string): SmallDisk {
  assert.equal(process.getuid?.(), 0, "a disk is mounted as root, which CI gives");
  mkdirSync(folder);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "skerry-test", folder]);
  const fillers: string[] = [];
  const disk: SmallDisk = {
    path: folder,
    get freeBytes() {
      const { bavail, bsize } = statfsSync(folder);
      return bavail * bsize;
    },
    fill(leavingBytes = 0) {
      const filler = join(folder, `filler-${fillers.length}`);
      fillers.push(filler);
      writeFileSync(filler, new Uint8Array(disk.freeBytes - leavingBytes));
      assert.equal(disk.freeBytes, leavingBytes);
    },
    free() {
      for (const filler of fillers.splice(0)) rmSync(filler);
    },
    [Symbol.dispose]: () => void execFileSync("umount", ["--lazy", folder]),
  };
  return disk;
}
