/** The file of the ledger of a hub without PostgreSQL. */
import { join } from "node:path";
import type { Ledger } from "../ledger/index.ts";
import { openSqliteLedger } from "../ledger/sqlite/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { FleetDeps } from "./fleet.ts";

export const fleetLedgerPath = (dataDir: string) => join(dataDir, "fleet.db");

/** Throws as `openSqliteLedger`. Blocks the thread that calls it. */
export function openFleetLedger(deps: FleetDeps, dataDir: string): Ledger {
  const path = fleetLedgerPath(dataDir);
  try {
    return openSqliteLedger({ ...deps, path });
  } catch (cause) {
    if (!(cause instanceof SkerryError) || cause.code !== "store-damaged") throw cause;
    throw new SkerryError({
      code: "store-damaged",
      message: `${path} is damaged`,
      hint: "keep the file and restore a copy of it; without one move it away (with its -wal and -shm): all cells are to be enrolled again then, with new tokens",
      ...(cause.cause === undefined ? {} : { cause: cause.cause }),
    });
  }
}
