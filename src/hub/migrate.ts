/** A stopped hub moves from SQLite into PostgreSQL: its cells and tokens, then its streams and documents; its key stays. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  migrateDocuments,
  migrateStreams,
  walkGlobalStore,
  type MigrationResult,
} from "../data/index.ts";
import { readAuthorityPin } from "../identity/index.ts";
import type { Clock } from "../lib/clock.ts";
import { createOperationRecheck } from "../privacy/gate/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { setAside } from "../runtime/sqlite/index.ts";
import {
  postgresOf,
  readHubRecord,
  resolveHubRecord,
  writeHubRecord,
  type HubConfig,
} from "./config.ts";
import { takeOverFleetFiles } from "./fleet-files.ts";
import { fleetLedgerPath, openFleetLedger } from "./fleet-ledger.ts";
import { openMigration } from "./fleet-migration.ts";
import { readFleet, type Fleet } from "./fleet-records.ts";
import type { FleetDeps } from "./fleet.ts";
import { authorityFolder } from "./hub-authority.ts";
import { lockHubFolder } from "./launch.ts";
import { hubDatabasePath } from "./storage.ts";

export type HubMigration = MigrationResult & {
  readonly documents: number;
  readonly place: string;
  /** Where the files stand now. */
  readonly kept: readonly string[];
};

/**
 * Throws `hub-running`, `no-data-folder`, `hub-not-empty`, `hub-mismatch`, `migration-differs`, and
 * what PostgreSQL and the file throw. After any of them the hub on SQLite is as it was.
 */
export async function migrateHub(
  config: HubConfig,
  deps: {
    clock: Clock;
    random: Random;
    signal: AbortSignal;
    onProgress: (progress: { entries: number; total: number }) => void;
  },
): Promise<HubMigration> {
  const { dataDir } = config;
  const { clock, random } = deps;
  const kept = readHubRecord(dataDir);
  const path = hubDatabasePath(dataDir);
  if (!kept || !existsSync(path))
    throw new SkerryError({
      code: "no-data-folder",
      message: `${dataDir} holds no hub with streams on SQLite`,
      hint: "name the data folder of the stopped hub with --from",
    });
  const record = resolveHubRecord(config, kept);
  const address = postgresOf(config, record);
  if (!address)
    throw new SkerryError({
      code: "invalid-config",
      message: "postgres: missing",
      hint: "give --postgres URL, or SKERRY_HUB_POSTGRES",
    });
  const lock = lockHubFolder(dataDir);
  try {
    const pin = readAuthorityPin(authorityFolder(dataDir, record));
    if (pin === undefined)
      throw new SkerryError({
        code: "no-data-folder",
        message: `${dataDir} holds no authority of a hub`,
        hint: "name its folder with --authority",
      });
    const log = silentLog;
    const walk = walkGlobalStore(path);
    const hub = { name: record.name, pin };
    try {
      const migration = await openMigration({ clock, random, log }, { address, hub });
      try {
        const source = walk.view ?? "empty";
        await migration.begin(source);
        await migration.copyFleet(await fleetOf({ clock, random, log }, dataDir));
        const { signal, onProgress } = deps;
        const result = await migrateStreams(
          { clock, random, log },
          { walk, address, signal, onProgress },
        );
        const documentsPath = join(dataDir, "documents.db");
        const recheck = createOperationRecheck();
        const { documents } = existsSync(documentsPath)
          ? await migrateDocuments(
              { clock, random, recheck },
              { path: documentsPath, source, address, signal },
            )
          : { documents: 0 };
        await migration.done(source);
        walk.close();
        const files = [documentsPath, path, fleetLedgerPath(dataDir)].filter((file) =>
          existsSync(file),
        );
        for (const file of files) setAside(file, aside);
        writeHubRecord(dataDir, record);
        return {
          ...result,
          documents,
          place: migration.place,
          kept: files.map((file) => `${file}${aside}`),
        };
      } finally {
        await migration.close();
      }
    } finally {
      walk.close();
    }
  } finally {
    lock.release();
  }
}

const aside = ".migrated";

/** Of the file, or of an earlier version's. */
async function fleetOf(deps: FleetDeps, dataDir: string): Promise<Fleet> {
  const ledger = openFleetLedger(deps, dataDir);
  try {
    await takeOverFleetFiles(ledger, dataDir);
    return await readFleet(ledger);
  } finally {
    await ledger.close();
  }
}
