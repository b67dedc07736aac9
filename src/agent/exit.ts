/** How the agent's process ends, as its keeper reads it. */
import { SkerryError } from "../lib/errors.ts";

/** EX_CONFIG of sysexits(3): the next start would fail the same way, so somebody has to mend something. */
export const hopelessExitCode = 78;

/** Of an agent that could not start, or go on. */
export const exitCodeOf = (error: unknown): number =>
  error instanceof SkerryError && !error.retryable ? hopelessExitCode : 1;
