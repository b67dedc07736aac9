/** A disk that fails as told under processes that are started with `env`: see `failing-disk.c`. */
import { rmSync, writeFileSync } from "node:fs";
import { compile } from "../../src/drill/faults/compile.ts";

export type FailingDisk = {
  readonly env: Readonly<Record<string, string>>;
  /** Files grow until they have so many bytes together. */
  setQuota(bytes: number): void;
  /** Whether an fsync fails. */
  failSync(fails: boolean): void;
};

export function failingDisk(folder: string): FailingDisk {
  const shim = compile(new URL("./failing-disk.c", import.meta.url), {
    what: "a disk that fails",
    flags: ["-shared", "-fPIC"],
    libraries: ["-ldl"],
  });
  return {
    env: { LD_PRELOAD: shim, SKERRY_FAILING_DISK: folder },
    setQuota: (bytes) => writeFileSync(`${folder}.quota`, String(bytes)),
    failSync(fails) {
      if (fails) writeFileSync(`${folder}.no-fsync`, "");
      else rmSync(`${folder}.no-fsync`);
    },
  };
}
