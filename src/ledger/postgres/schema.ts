/**
 * The tables of a ledger in PostgreSQL, as those of the SQLite engine (`../sqlite/schema.ts`): every
 * version of every key since the last compaction, where `superseded` is the revision that replaced a
 * row. A deletion is a row without value that is superseded by itself. Keys are compared as bytes.
 */
import { preparePostgresLayout, type Postgres } from "../../runtime/postgres/index.ts";

const steps = [
  `
CREATE SCHEMA skerry_ledger;
CREATE TABLE skerry_ledger.state(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch text NOT NULL, revision bigint NOT NULL, compacted bigint NOT NULL) WITH (fillfactor = 50);
COMMENT ON TABLE skerry_ledger.state IS 'who writes holds this row until his commit';
INSERT INTO skerry_ledger.state(epoch, revision, compacted) VALUES (gen_random_uuid()::text, 0, 0);
CREATE TABLE skerry_ledger.lease(
  lease text COLLATE "C" PRIMARY KEY, ttl_ms bigint NOT NULL, renewals bigint NOT NULL DEFAULT 0)
  WITH (fillfactor = 50);
CREATE TABLE skerry_ledger.history(
  revision bigint NOT NULL, position int NOT NULL, key text COLLATE "C" NOT NULL, value bytea,
  create_revision bigint NOT NULL, version bigint NOT NULL, lease text COLLATE "C",
  superseded bigint, mark text NOT NULL, PRIMARY KEY (revision, position));
COMMENT ON COLUMN skerry_ledger.history.mark IS 'of the transaction, by which its writer knows it again';
CREATE UNIQUE INDEX history_by_key ON skerry_ledger.history(key, revision);
CREATE UNIQUE INDEX history_current ON skerry_ledger.history(key) WHERE superseded IS NULL;
CREATE INDEX history_lease ON skerry_ledger.history(lease)
  WHERE superseded IS NULL AND lease IS NOT NULL;
CREATE INDEX history_superseded ON skerry_ledger.history(superseded) WHERE superseded IS NOT NULL;
`,
];

/** Throws `store-newer`, `database-forbidden`. */
export const prepareLedgerLayout = (postgres: Postgres): Promise<void> =>
  preparePostgresLayout(postgres, { part: "ledger", steps });
