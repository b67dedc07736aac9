/** What the hub's storage thread is started with, and where it keeps streams without PostgreSQL. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../lib/errors.ts";
import type { LogLevel } from "../runtime/log/index.ts";
import type { PostgresAddress } from "../runtime/postgres/index.ts";

export type HubStorageData = {
  readonly dataDir: string;
  readonly logLevel: LogLevel;
  readonly logPath?: string;
  /** Absent: SQLite in the data folder. */
  readonly postgres?: PostgresAddress;
  readonly retentionAgeMs?: number;
};

export const hubDatabasePath = (dataDir: string) => join(dataDir, "hub.db");

/** Throws `hub-not-migrated`: streams that nobody would see any more. */
export function refuseUnmigrated(dataDir: string): void {
  const path = hubDatabasePath(dataDir);
  if (!existsSync(path)) return;
  throw new SkerryError({
    code: "hub-not-migrated",
    message: `${path} holds the streams of this hub, and they are not in PostgreSQL`,
    hint: `skerry hub migrate --from ${dataDir} copies them; or move the file away`,
  });
}
