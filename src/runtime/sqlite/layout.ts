/** Which tables a file has: its layout is a number in the file itself, and each step leads one on. */
import { SkerryError } from "../../lib/errors.ts";
import { sqliteFailure } from "./failures.ts";
import type { Database } from "./open.ts";

/**
 * Makes the tables in a new file, brings an older one up: `steps[n]` leads from layout n to n + 1.
 * Throws `store-newer` for a file of a later layout, and `disk-full`; the database is to be closed then.
 */
export function prepareLayout(
  db: Database,
  { path, steps }: { path: string; steps: readonly string[] },
): void {
  const found = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (found > steps.length) {
    throw new SkerryError({
      code: "store-newer",
      message: `${path} was written by a later version of Skerry (layout ${found}, this one knows ${steps.length})`,
      hint: "run the version that wrote it, or move the file away and let the other nodes fill a new one",
    });
  }
  if (found === steps.length) return;
  try {
    db.exec("BEGIN IMMEDIATE");
    for (const step of steps.slice(found)) db.exec(step);
    db.exec(`PRAGMA user_version = ${steps.length}`);
    db.exec("COMMIT");
  } catch (error) {
    throw sqliteFailure(error, path);
  }
}
