/** A hub's fleet on its way from files into PostgreSQL, and what keeps hubs from starting meanwhile. */
import { SkerryError } from "../lib/errors.ts";
import type { PostgresAddress } from "../runtime/postgres/index.ts";
import { fleetApplication, type HubName } from "./fleet-layout.ts";
import { openPostgresPlace } from "./fleet-postgres.ts";
import { takeOverFleet, type Fleet } from "./fleet-records.ts";
import type { FleetDeps } from "./fleet.ts";

/**
 * The fleet of a hub that moves in: `begin` refuses where entries were taken already, `fleet` is
 * copied, `done` lets hubs start.
 */
export async function openMigration(
  deps: FleetDeps,
  options: { address: PostgresAddress; hub: HubName },
): Promise<{
  readonly place: string;
  begin(source: string): Promise<void>;
  copyFleet(fleet: Fleet): Promise<void>;
  done(source: string): Promise<void>;
  close(): Promise<void>;
}> {
  const { ledger, postgres } = await openPostgresPlace(deps, {
    ...options,
    application: "skerry-migrate",
  });
  return {
    place: postgres.place,
    async begin(source) {
      const [found] = await postgres.use((session) =>
        session.query(
          `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = $1) AS runs,
             EXISTS (SELECT FROM skerry.migration WHERE source = $2) AS known,
             to_regclass('skerry.view') IS NOT NULL AS streams`,
          [fleetApplication, source],
        ),
      );
      if (found?.["runs"])
        throw new SkerryError({
          code: "hub-running",
          message: `a hub runs on PostgreSQL at ${postgres.place}`,
          hint: "stop all hub processes of this database, and migrate before they take entries",
        });
      const [taken] =
        found?.["streams"] && !found["known"]
          ? await postgres.use((session) =>
              session.query("SELECT count(*) AS origins FROM skerry.origin WHERE top > 0"),
            )
          : [];
      if (Number(taken?.["origins"] ?? 0) > 0)
        throw new SkerryError({
          code: "hub-not-empty",
          message: `PostgreSQL at ${postgres.place} has entries already, and what is older could not be put before them`,
          hint: "name an empty database; entries that the other one took are sent again by cells that still hold them",
        });
      await postgres.use((session) =>
        session.query("INSERT INTO skerry.migration(source) VALUES ($1) ON CONFLICT DO NOTHING", [
          source,
        ]),
      );
    },
    copyFleet: (fleet) => takeOverFleet(ledger, fleet),
    async done(source) {
      await postgres.use((session) =>
        session.query("UPDATE skerry.migration SET done = true WHERE source = $1", [source]),
      );
    },
    async close() {
      await ledger.close();
      await postgres.close();
    },
  };
}
