/** JSON log lines on standard error or into a file, by pino. */
import { pino, type Logger as Pino } from "pino";
import { encodeError } from "../../lib/errors.ts";
import type { Log, LogFields } from "../../lib/log.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

export function createLog(
  options: { level?: LogLevel; path?: string; fields?: LogFields } = {},
): Log {
  const destination = pino.destination({
    dest: options.path ?? 2,
    sync: false,
    mkdir: true,
    minLength: 0,
  });
  const logger = pino(
    {
      level: options.level ?? "info",
      base: options.fields ?? {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      messageKey: "message",
    },
    destination,
  );
  return wrap(logger);
}

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
  return { ...fields, error: encodeError(fields["error"]) };
}
