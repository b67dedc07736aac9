/** The tables of a hub's fleet in PostgreSQL, and whose they are. */
import { SkerryError } from "../lib/errors.ts";
import { preparePostgresLayout, type Postgres } from "../runtime/postgres/index.ts";

export type HubName = { readonly name: string; readonly pin: string };

/** Shown in pg_stat_activity: who has it runs, and takes entries. */
export const fleetApplication = "skerry-hub-fleet";

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

/** Throws `store-newer`, and `hub-mismatch` when the database is another hub's. */
export async function openFleetLayout(postgres: Postgres, hub: HubName): Promise<void> {
  await preparePostgresLayout(postgres, { part: "fleet", steps });
  await claimHub(postgres, hub);
}

/** The first process of a hub takes the database; cells would not know what another one signs. */
async function claimHub(postgres: Postgres, hub: HubName): Promise<void> {
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
