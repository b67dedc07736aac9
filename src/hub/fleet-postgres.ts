/**
 * Which cells are enrolled, and tokens for others, in PostgreSQL: shared by all hub processes of one
 * database. What links ask for at every handshake is a copy in memory, a second old at most.
 */
import { every, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { TokenRecord, TokenStore } from "../identity/index.ts";
import {
  openPostgres,
  preparePostgresLayout,
  type Postgres,
  type PostgresAddress,
  type Row,
} from "../runtime/postgres/index.ts";
import type { CellRegistry } from "./registry.ts";

/** Shown in pg_stat_activity: who has it runs, and takes entries. */
const application = "skerry-hub-fleet";

export type FleetStore = {
  readonly registry: CellRegistry;
  readonly tokens: TokenStore;
  close(): Promise<void>;
};

const steps = [
  `
CREATE TABLE skerry.hub(
  one boolean PRIMARY KEY DEFAULT true CHECK (one), name text NOT NULL, pin text NOT NULL);
COMMENT ON COLUMN skerry.hub.pin IS 'of the authority that all processes of this hub share';
CREATE TABLE skerry.enrolled(
  trust_domain text PRIMARY KEY, pin text NOT NULL, cell text, enrolled_at timestamptz);
CREATE TABLE skerry.token(
  id text PRIMARY KEY, secret_hash text NOT NULL, expires_at timestamptz NOT NULL, name text,
  server boolean NOT NULL, used_by text);
`,
  `
CREATE TABLE skerry.migration(source text PRIMARY KEY, done boolean NOT NULL DEFAULT false);
COMMENT ON TABLE skerry.migration IS 'files of hubs on SQLite that were, or are being, taken in';
`,
];

const periodMs = 1000;
/** Tokens expired for longer than this are removed when another is put. */
const keepExpired = "1 day";

/**
 * Throws what opening PostgreSQL throws, and `hub-mismatch` when the database is another hub's.
 */
export async function openPostgresFleet(
  deps: { clock: Clock; log: Log },
  options: {
    address: PostgresAddress;
    hub: { name: string; pin: string };
    onChange: () => void;
  },
): Promise<FleetStore> {
  const { clock, log } = deps;
  const postgres = await openPostgres(deps, options.address, {
    application,
    connectionsMax: 2,
  });
  try {
    await preparePostgresLayout(postgres, { part: "fleet", steps });
    await claimHub(postgres, options.hub);
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
      tokens: createTokens(postgres),
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

/** The first process of a hub takes the database; cells would not know what another one signs. */
async function claimHub(postgres: Postgres, hub: { name: string; pin: string }): Promise<void> {
  const [row] = await postgres.use(async (session) => {
    await session.query(
      "INSERT INTO skerry.hub(name, pin) VALUES ($1, $2) ON CONFLICT DO NOTHING",
      [hub.name, hub.pin],
    );
    return await session.query("SELECT name, pin FROM skerry.hub");
  });
  if (row?.["name"] === hub.name && row["pin"] === hub.pin) return;
  const isName = row?.["name"] !== hub.name;
  throw new SkerryError({
    code: "hub-mismatch",
    message: isName
      ? `PostgreSQL at ${postgres.place} belongs to hub "${String(row?.["name"])}", and this is "${hub.name}"`
      : `PostgreSQL at ${postgres.place} belongs to hub "${hub.name}" with another authority than this folder's`,
    hint: isName
      ? "give its --name, or another database"
      : "give the folder of that hub's authority (identity in its data folder) with --authority",
  });
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

/**
 * The fleet of a hub that moves in: `begin` refuses where entries were taken already, `fleet` is
 * copied, `done` lets hubs start.
 */
export async function openMigration(
  deps: { clock: Clock; log: Log },
  options: { address: PostgresAddress; hub: { name: string; pin: string } },
): Promise<{
  readonly place: string;
  begin(source: string): Promise<void>;
  copyFleet(fleet: {
    readonly cells: readonly {
      trustDomain: string;
      pin: string;
      cell?: string;
      enrolledAt?: string;
    }[];
    readonly tokens: readonly TokenRecord[];
  }): Promise<void>;
  done(source: string): Promise<void>;
  close(): Promise<void>;
}> {
  const postgres = await openPostgres(deps, options.address, {
    application: "skerry-migrate",
    connectionsMax: 1,
  });
  try {
    await preparePostgresLayout(postgres, { part: "fleet", steps });
    await claimHub(postgres, options.hub);
  } catch (error) {
    await postgres.close();
    throw error;
  }
  return {
    place: postgres.place,
    async begin(source) {
      const [found] = await postgres.use((session) =>
        session.query(
          `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = $1) AS runs,
             EXISTS (SELECT FROM skerry.migration WHERE source = $2) AS known,
             to_regclass('skerry.view') IS NOT NULL AS streams`,
          [application, source],
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
    async copyFleet({ cells, tokens }) {
      const store = createTokens(postgres);
      for (const { trustDomain, pin, cell, enrolledAt } of cells)
        await postgres.use((session) =>
          session.query(
            "INSERT INTO skerry.enrolled VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [trustDomain, pin, cell ?? null, enrolledAt ?? null],
          ),
        );
      for (const token of tokens) if (!(await store.get(token.id))) await store.put(token);
    },
    async done(source) {
      await postgres.use((session) =>
        session.query("UPDATE skerry.migration SET done = true WHERE source = $1", [source]),
      );
    },
    close: () => postgres.close(),
  };
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

function createTokens(postgres: Postgres): TokenStore {
  return {
    async put(record) {
      await postgres.use(async (session) => {
        await session.query(
          `DELETE FROM skerry.token WHERE expires_at < now() - interval '${keepExpired}'`,
        );
        await session.query(
          `INSERT INTO skerry.token(id, secret_hash, expires_at, name, server)
           VALUES ($1, $2, to_timestamp($3 / 1000.0), $4, $5)`,
          [
            record.id,
            record.secretHash,
            record.expiresAtMs,
            record.name ?? null,
            record.server ?? false,
          ],
        );
      });
    },
    async get(id) {
      const [row] = await postgres.use((session) =>
        session.query(
          `SELECT id, secret_hash, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at, name, server
           FROM skerry.token WHERE id = $1`,
          [id],
        ),
      );
      return row && tokenOf(row);
    },
    async takeOnce(id, by) {
      const [row] = await postgres.use((session) =>
        session.query(
          "UPDATE skerry.token SET used_by = coalesce(used_by, $2) WHERE id = $1 RETURNING used_by",
          [id, by],
        ),
      );
      return String(row?.["used_by"]);
    },
  };
}

const tokenOf = (row: Row): TokenRecord => ({
  id: String(row["id"]),
  secretHash: String(row["secret_hash"]),
  expiresAtMs: Number(row["expires_at"]),
  ...(row["name"] === null ? {} : { name: String(row["name"]) }),
  ...(row["server"] === true ? { server: true } : {}),
});
