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
    application: "skerry-hub-fleet",
    connectionsMax: 2,
  });
  try {
    await preparePostgresLayout(postgres, { part: "fleet", steps });
    await claimHub(postgres, options.hub);
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
