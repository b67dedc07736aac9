/** Whether a data folder can be used by who asks. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";

/** What stands against writing there; nothing is made. Throws `invalid-config` when it is no folder. */
export function folderWarnings(dataDir: string): readonly string[] {
  const found = nearestExisting(resolve(dataDir));
  if (!statSync(found).isDirectory())
    throw new SkerryError({
      code: "invalid-config",
      message: `dataDir: ${dataDir} was given, but ${found} is no folder`,
    });
  try {
    accessSync(found, constants.W_OK | constants.X_OK);
    return [];
  } catch (error) {
    const who = `user ${process.getuid?.() ?? "?"}`;
    const what =
      found === resolve(dataDir) ? dataDir : `${dataDir} does not exist, and ${found} above it`;
    return [`dataDir: ${what} cannot be written by ${who} (${systemCode(error) ?? "refused"})`];
  }
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path));
}

/**
 * The record a start would have in this folder. A configuration that is sound in itself, in a folder
 * that belongs to another, gives the record of a new folder and the refusal in words.
 */
export function resolveInFolder<Record>(
  resolveRecord: (existing: Record | undefined) => Record,
  existing: Record | undefined,
): { readonly record: Record; readonly refusal: readonly string[] } {
  try {
    return { record: resolveRecord(existing), refusal: [] };
  } catch (error) {
    if (existing === undefined || !(error instanceof SkerryError)) throw error;
    try {
      return { record: resolveRecord(undefined), refusal: [error.message] };
    } catch {
      // Not sound in itself either: what stands against it here says more.
      throw error;
    }
  }
}
