/** JSON log lines on standard error or into a file, by pino; in the journal's own form where standard error leads there. */
import { pino, type Logger as Pino } from "pino";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import type { Log, LogFields } from "../../lib/log.ts";
import { isJournal, journalLine } from "../systemd/journal.ts";
import { createDestination, type Destination, type DestinationOptions } from "./destination.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

export type LogOptions = DestinationOptions & {
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Stand in every line. */
  readonly fields?: LogFields;
};

/** Throws the system's error when the file at `path` cannot be opened. */
export function createLog(options: LogOptions = {}): Log {
  const logger = pino(
    {
      level: options.level ?? "info",
      base: options.fields ?? {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      messageKey: "message",
    },
    options.path === undefined && isJournal(2, process.env)
      ? forJournal(createDestination(options))
      : createDestination(options),
  );
  return wrap(logger);
}

const forJournal = (to: Destination): Destination => ({
  write: (line) => to.write(`${journalLine(line.trimEnd())}\n`),
});

function wrap(logger: Pino): Log {
  return {
    debug: (message, fields) => logger.debug(plain(fields), message),
    info: (message, fields) => logger.info(plain(fields), message),
    warn: (message, fields) => logger.warn(plain(fields), message),
    error: (message, fields) => logger.error(plain(fields), message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

function plain(fields: LogFields | undefined): LogFields {
  if (fields?.["error"] === undefined) return fields ?? {};
  const { error } = fields;
  // An error of our own says by its code where it came from; of all others the stack is wanted.
  const stack = error instanceof Error && !(error instanceof SkerryError) ? error.stack : undefined;
  return { ...fields, error: { ...encodeError(error), ...(stack === undefined ? {} : { stack }) } };
}
