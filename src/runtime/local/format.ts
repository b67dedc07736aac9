/**
 * The format of a data folder, carried by the record that says whose it is (`node.json`, `hub.json`).
 * It is raised when an older version could no longer read the folder; databases carry one of their
 * own (`user_version`). A record without one is of format 1.
 */
import { SkerryError } from "../../lib/errors.ts";

export const dataFormat = 1;

export const withFormat = <Record extends object>(record: Record) => ({
  format: dataFormat,
  ...record,
});

/** The record without its format. Throws `data-newer` for one of a later version, changing nothing. */
export function withoutFormat(path: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("format" in value)) return value;
  const { format, ...record } = value;
  if (typeof format === "number" && format <= dataFormat) return record;
  throw new SkerryError({
    code: "data-newer",
    message: `${path} was written by a newer Skerry (data format ${String(format)}, this version knows ${dataFormat})`,
    hint: "start the newer version again; nothing was changed",
  });
}
