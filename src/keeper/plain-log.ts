/** The keeper's own log: JSON lines on standard error, which is its log file. No library: it stays small. */
import { writeSync } from "node:fs";
import type { Clock } from "../lib/clock.ts";
import { encodeError } from "../lib/errors.ts";
import type { Log, LogFields } from "../lib/log.ts";

export function createPlainLog(deps: { clock: Clock }, fields: LogFields = {}): Log {
  const write = (level: string, message: string, more: LogFields = {}) => {
    const error = more["error"] === undefined ? {} : { error: encodeError(more["error"]) };
    const time = new Date(deps.clock.wallMs()).toISOString();
    const line = JSON.stringify({ level, time, ...fields, ...more, ...error, message });
    try {
      writeSync(2, `${line}\n`);
    } catch {
      // A full disk must not end the keeper: it goes on without its log.
    }
  };
  return {
    debug: () => {},
    info: (message, more) => write("info", message, more),
    warn: (message, more) => write("warn", message, more),
    error: (message, more) => write("error", message, more),
    child: (more) => createPlainLog(deps, { ...fields, ...more }),
  };
}
