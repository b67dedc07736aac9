/** What every command gets: where to write, the environment, the clock, and when to stop. */
import type { Clock } from "../lib/clock.ts";
import type { Random } from "../lib/random.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { environment, stopSignal } from "../runtime/process/index.ts";
import { createOutput, type Output } from "./output.ts";

export type Context = {
  readonly output: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborts at Ctrl-C; asked for by commands that run until then. */
  stop(): AbortSignal;
};

export function createContext(): Context {
  let signal: AbortSignal | undefined;
  return {
    output: createOutput({ stdout: process.stdout, stderr: process.stderr }),
    env: environment,
    cwd: process.cwd(),
    clock: systemClock,
    random: systemRandom,
    stop: () => (signal ??= stopSignal()),
  };
}
