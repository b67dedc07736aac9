/** Disks that can be made slow and fast again while what uses them runs: see `slow-disk.c`. */
import { closeSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { MachineName } from "../site/network.ts";
import { compile } from "./compile.ts";

export type SlowDisks = {
  /** The command line under which a machine's processes find its disk slow. */
  wrap(machine: MachineName, argv: readonly string[]): readonly string[];
  /** From now on every fsync there takes at least this long; 0 is as fast as it is. */
  set(machine: MachineName, delayMs: number): void;
  /** Calls held back so far: proof that the delay reached somebody. */
  heldBack(machine: MachineName): number;
};

const controlBytes = 8;

/** Throws `tool-missing` without a C compiler. `dir` takes a control file for each machine. */
export function createSlowDisks(dir: string): SlowDisks {
  const program = compile(new URL("./slow-disk.c", import.meta.url), {
    what: "a slow disk",
    flags: [],
  });
  mkdirSync(dir, { recursive: true });
  const pathOf = (machine: MachineName) => join(dir, `${machine}.slow-disk`);
  const withControl = <T>(machine: MachineName, use: (file: number) => T): T => {
    const file = openSync(pathOf(machine), "a+");
    closeSync(file);
    const control = openSync(pathOf(machine), "r+");
    try {
      return use(control);
    } finally {
      closeSync(control);
    }
  };
  return {
    wrap: (machine, argv) => [program, pathOf(machine), ...argv],
    set(machine, delayMs) {
      const delay = Buffer.alloc(4);
      delay.writeInt32LE(Math.round(delayMs));
      withControl(machine, (file) => writeSync(file, delay, 0, delay.length, 0));
    },
    heldBack(machine) {
      const bytes = Buffer.alloc(controlBytes);
      withControl(machine, (file) => readSync(file, bytes, 0, controlBytes, 0));
      return bytes.readUInt32LE(4);
    },
  };
}
