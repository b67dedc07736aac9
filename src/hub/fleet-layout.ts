/** Whose a database in PostgreSQL is, and which files moved in. Cells and tokens are in its ledger. */
import type { Ledger } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import {
  preparePostgresLayout,
  type LayoutStep,
  type Postgres,
  type Row,
  type Session,
} from "../runtime/postgres/index.ts";
import { takeOverFleet } from "./fleet-records.ts";

export type HubName = { readonly name: string; readonly pin: string };
type Whose = { readonly hub: HubName; readonly ledger: Ledger };

/** Shown in pg_stat_activity: who has it runs, and takes entries. */
export const fleetApplication = "skerry-hub-fleet";

const steps = (place: string, { hub, ledger }: Whose): LayoutStep[] => [
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
  async (session) => {
    const [row] = await session.query("SELECT name, pin FROM skerry.hub");
    // Before anything is taken from whoever runs there.
    if (row) assertIsHub(place, row, hub);
    await moveIntoLedger(session, ledger);
  },
];

/** Throws `store-newer`, and `hub-mismatch` when the database is another hub's. */
export async function openFleetLayout(postgres: Postgres, whose: Whose): Promise<void> {
  await preparePostgresLayout(postgres, { part: "fleet", steps: steps(postgres.place, whose) });
  await claimHub(postgres, whose.hub);
}

/**
 * The tables are locked until they are gone, so a process of an earlier version that still runs enrols
 * nobody where nobody looks: its statements fail. Cut short, they are still there, and the truth.
 */
async function moveIntoLedger(session: Session, ledger: Ledger): Promise<void> {
  await session.script(
    `SET LOCAL idle_in_transaction_session_timeout = 0;
     LOCK TABLE skerry.enrolled, skerry.token IN ACCESS EXCLUSIVE MODE`,
  );
  const cells = await session.query(
    `SELECT trust_domain, pin, cell, (extract(epoch FROM enrolled_at) * 1000)::bigint AS at_ms
     FROM skerry.enrolled`,
  );
  const tokens = await session.query(
    `SELECT id, secret_hash, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at, name,
       server, used_by
     FROM skerry.token`,
  );
  await takeOverFleet(ledger, { cells: cells.map(cellOf), tokens: tokens.map(tokenOf) });
  await session.script("DROP TABLE skerry.enrolled, skerry.token");
}

const cellOf = (row: Row) => ({
  trustDomain: String(row["trust_domain"]),
  pin: String(row["pin"]),
  ...(row["cell"] === null
    ? {}
    : {
        cell: String(row["cell"]),
        enrolledAt: new Date(Number(row["at_ms"])).toISOString(),
      }),
});

const tokenOf = (row: Row) => ({
  token: {
    id: String(row["id"]),
    secretHash: String(row["secret_hash"]),
    expiresAtMs: Number(row["expires_at"]),
    ...(row["name"] === null ? {} : { name: String(row["name"]) }),
    ...(row["server"] === true ? { server: true } : {}),
  },
  ...(row["used_by"] === null ? {} : { usedBy: String(row["used_by"]) }),
});

/** The first process of a hub takes the database; cells would not know what another one signs. */
async function claimHub(postgres: Postgres, hub: HubName): Promise<void> {
  const [row] = await postgres.use(async (session) => {
    await session.query(
      "INSERT INTO skerry.hub(name, pin) VALUES ($1, $2) ON CONFLICT DO NOTHING",
      [hub.name, hub.pin],
    );
    return await session.query("SELECT name, pin FROM skerry.hub");
  });
  assertIsHub(postgres.place, row, hub);
}

/** Throws `hub-mismatch`. */
function assertIsHub(place: string, row: Row | undefined, hub: HubName): void {
  if (row?.["name"] === hub.name && row["pin"] === hub.pin) return;
  const isName = row?.["name"] !== hub.name;
  throw new SkerryError({
    code: "hub-mismatch",
    message: isName
      ? `PostgreSQL at ${place} belongs to hub "${String(row?.["name"])}", and this is "${hub.name}"`
      : `PostgreSQL at ${place} belongs to hub "${hub.name}" with another authority than this folder's`,
    hint: isName
      ? "give its --name, or another database"
      : "give the folder of that hub's authority (identity in its data folder) with --authority",
  });
}
