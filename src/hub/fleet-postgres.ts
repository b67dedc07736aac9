/**
 * Which cells are enrolled, and tokens for others, in PostgreSQL: shared by all hub processes of one
 * database. What links ask for at every handshake is a copy in memory, a second old at most.
 */
import { every, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { TokenStore } from "../identity/index.ts";
import {
  openPostgres,
  type Postgres,
  type PostgresAddress,
  type Row,
} from "../runtime/postgres/index.ts";
import { fleetApplication, openFleetLayout, type HubName } from "./fleet-layout.ts";
import { createPostgresTokens } from "./fleet-tokens.ts";
import type { CellRegistry } from "./registry.ts";

export type FleetStore = {
  readonly registry: CellRegistry;
  readonly tokens: TokenStore;
  close(): Promise<void>;
};

const periodMs = 1000;
/**
 * Throws what opening PostgreSQL throws, and `hub-mismatch` when the database is another hub's.
 */
export async function openPostgresFleet(
  deps: { clock: Clock; log: Log },
  options: {
    address: PostgresAddress;
    hub: HubName;
    onChange: () => void;
  },
): Promise<FleetStore> {
  const { clock, log } = deps;
  const postgres = await openPostgres(deps, options.address, {
    application: fleetApplication,
    connectionsMax: 2,
  });
  try {
    await openFleetLayout(postgres, options.hub);
    await refuseUnfinished(postgres);
    const registry = await openRegistry(postgres, { onChange: options.onChange });
    const ticks = every(
      clock,
      periodMs,
      () => registry.refresh(),
      (error) => log.warn("the list of enrolled cells could not be read again", { error }),
    );
    return {
      registry,
      tokens: createPostgresTokens(postgres),
      async close() {
        ticks.cancel();
        await postgres.close();
      },
    };
  } catch (error) {
    await postgres.close();
    throw error;
  }
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

async function openRegistry(
  postgres: Postgres,
  { onChange }: { onChange: () => void },
): Promise<CellRegistry & { refresh(): Promise<void> }> {
  type Known = { readonly cell: string; readonly trustDomain: string; readonly enrolledAt: string };
  let known = new Map<string, Known>();
  const read = async () => {
    const rows = await postgres.use((session) =>
      session.query(
        `SELECT trust_domain, cell, (extract(epoch FROM enrolled_at) * 1000)::bigint AS at_ms
         FROM skerry.enrolled WHERE cell IS NOT NULL ORDER BY enrolled_at, cell`,
      ),
    );
    return new Map(rows.map((row) => [String(row["trust_domain"]), knownOf(row)]));
  };
  const knownOf = (row: Row): Known => ({
    cell: String(row["cell"]),
    trustDomain: String(row["trust_domain"]),
    enrolledAt: new Date(Number(row["at_ms"])).toISOString(),
  });
  const refresh = async () => {
    const next = await read();
    // Cells come and are never taken away.
    const changed = next.size !== known.size;
    known = next;
    if (changed) onChange();
  };
  const pinOf = async (trustDomain: string) => {
    const [row] = await postgres.use((session) =>
      session.query("SELECT pin FROM skerry.enrolled WHERE trust_domain = $1", [trustDomain]),
    );
    return row && String(row["pin"]);
  };
  known = await read();
  return {
    refresh,
    async claim(trustDomain, keyPin) {
      await postgres.use((session) =>
        session.query(
          "INSERT INTO skerry.enrolled(trust_domain, pin) VALUES ($1, $2) ON CONFLICT DO NOTHING",
          [trustDomain, keyPin],
        ),
      );
      return (await pinOf(trustDomain)) ?? keyPin;
    },
    find: pinOf,
    async enrolled({ name, trustDomain }) {
      await postgres.use((session) =>
        session.query(
          `UPDATE skerry.enrolled SET cell = $2, enrolled_at = now()
           WHERE trust_domain = $1 AND cell IS NULL`,
          [trustDomain, name],
        ),
      );
      await refresh();
    },
    cells: () => [...known.values()],
    cellOf: (trustDomain) => known.get(trustDomain)?.cell,
  };
}
