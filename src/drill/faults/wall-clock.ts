/** Wall clocks that are wrong, machine by machine, and step while their processes run: `wall-clock.c`. */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { compile } from "./compile.ts";

export type WallClock = Disposable & {
  /** For every process of the machine. */
  readonly env: Readonly<Record<string, string>>;
  /** From now on its processes see a wall clock that is wrong by so much. */
  set(offsetMs: number): void;
};

/** Throws as `compile` does. */
export function buildWallClock(): string {
  return compile(new URL("./wall-clock.c", import.meta.url), {
    what: "a wrong clock",
    flags: ["-shared", "-fPIC"],
    libraries: ["-ldl"],
  });
}

/** Its offset stands in a file of `folder`. */
export function createWallClock(options: {
  readonly shim: string;
  readonly folder: string;
  readonly machine: string;
}): WallClock {
  const path = join(options.folder, `clock-of-${options.machine}`);
  writeFileSync(path, Buffer.alloc(8));
  const file = openSync(path, "r+");
  return {
    env: { LD_PRELOAD: options.shim, SKERRY_DRILL_CLOCK: path },
    set(offsetMs) {
      const number = Buffer.alloc(8);
      number.writeBigInt64LE(BigInt(Math.round(offsetMs)));
      writeSync(file, number, 0, number.length, 0);
    },
    [Symbol.dispose]: () => closeSync(file),
  };
}
