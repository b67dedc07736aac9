/** The fleet of a hub in PostgreSQL: shared by all hub processes of one database, and by no other hub. */
import { openPostgresLedger, type Ledger } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { openPostgres, type Postgres, type PostgresAddress } from "../runtime/postgres/index.ts";
import { fleetApplication, openFleetLayout, type HubName } from "./fleet-layout.ts";
import { openFleet, type FleetDeps, type FleetStore } from "./fleet.ts";

type Where = {
  readonly address: PostgresAddress;
  readonly hub: HubName;
  /** Shown in pg_stat_activity. */
  readonly application: string;
};

/** Throws what opening PostgreSQL throws, `hub-mismatch` when the database is another hub's, and `migration-unfinished`. */
export async function openPostgresFleet(
  deps: FleetDeps,
  options: Pick<Where, "address" | "hub"> & { onChange: () => void },
): Promise<FleetStore> {
  const { ledger, postgres } = await openPostgresPlace(deps, {
    ...options,
    application: fleetApplication,
  });
  try {
    await refuseUnfinished(postgres);
    return await openFleet(deps, { ledger, onChange: options.onChange });
  } catch (error) {
    await ledger.close();
    throw error;
  } finally {
    await postgres.close();
  }
}

/** The ledger of a hub's database, and a connection beside it; both are the caller's to close. */
export async function openPostgresPlace(
  deps: FleetDeps,
  { address, hub, application }: Where,
): Promise<{ ledger: Ledger; postgres: Postgres }> {
  await using opened = new AsyncDisposableStack();
  const ledger = opened.adopt(await openPostgresLedger(deps, { address, application }), (one) =>
    one.close(),
  );
  const postgres = opened.adopt(
    await openPostgres(deps, address, { application, connectionsMax: 1 }),
    (one) => one.close(),
  );
  await openFleetLayout(postgres, { hub, ledger });
  opened.move();
  return { ledger, postgres };
}

/** Cells would send from where they are, and what is still to come from the file would be missing. */
async function refuseUnfinished(postgres: Postgres): Promise<void> {
  const rows = await postgres.use((session) =>
    session.query("SELECT source FROM skerry.migration WHERE NOT done"),
  );
  if (rows.length === 0) return;
  throw new SkerryError({
    code: "migration-unfinished",
    message: `streams of a hub on SQLite are still being taken into PostgreSQL at ${postgres.place}`,
    hint: "run skerry hub migrate again until it is done, then start the hub",
  });
}
