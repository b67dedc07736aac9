/**
 * A part of the system that keeps promises over a power cut, as the cuts use it: real rooms' code that
 * writes under the shim and says what was acknowledged, and a check of what a disk holds afterwards.
 */
import type { Log } from "../../../lib/log.ts";
import { silentLog } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { systemClock, systemRandom } from "../../../runtime/clock/index.ts";

export type Writing = {
  readonly folder: string;
  /** Differs between the processes that wrote to this folder one after the other. */
  readonly life: number;
  readonly random: Random;
  /** False: enough was written. */
  more(): boolean;
  /** From now on `value` must survive. */
  acknowledge(value: unknown): void;
};

export type Part = {
  readonly name: string;
  /** Opens what is in the folder, writes until `more` is false. */
  write(writing: Writing): Promise<void>;
  /** What is wrong in a folder after a cut, in words; may write to it. `acknowledged`: all lives, in order. */
  check(folder: string, acknowledged: readonly unknown[]): Promise<string[]>;
};

export const deps: {
  readonly clock: typeof systemClock;
  readonly random: Random;
  readonly log: Log;
} = { clock: systemClock, random: systemRandom, log: silentLog };

/** The first few, so that one broken seed does not fill the screen. */
export const few = (texts: readonly string[]): string[] => texts.slice(0, 5);
