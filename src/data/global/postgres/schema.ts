/**
 * The tables of the hub's streams in PostgreSQL. Rows are plain, so that logical replication can
 * publish them; what grows without end is partitioned by the time of arrival (`batch`), entries below
 * that by cell. `batch` is the number of a transaction: milliseconds since 1970 on the server's clock
 * times 1024, and a counter.
 */
import { preparePostgresLayout, type Postgres } from "../../../runtime/postgres/index.ts";

/** `batch >> 10` is the time of arrival in ms. */
export const batchesPerMs = 1024;

const steps = [
  `
CREATE TABLE skerry.view(
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  token text NOT NULL,
  next bigint NOT NULL DEFAULT 1);
COMMENT ON TABLE skerry.view IS 'the merged view: its token in cursors, and the next place in it';
CREATE SEQUENCE skerry.batch MINVALUE 0 MAXVALUE 1023 CYCLE CACHE 1;
CREATE TABLE skerry.cell(
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE skerry.stream(
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cell int NOT NULL, name text NOT NULL,
  entries bigint NOT NULL DEFAULT 0, bytes bigint NOT NULL DEFAULT 0, UNIQUE(cell, name))
  WITH (fillfactor = 70);
CREATE INDEX stream_name ON skerry.stream(name);
CREATE TABLE skerry.origin(
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cell int NOT NULL, name text NOT NULL,
  top bigint NOT NULL DEFAULT 0, UNIQUE(cell, name))
  WITH (fillfactor = 70);
COMMENT ON COLUMN skerry.origin.top IS 'every position of this log up to it is here, or had no entry';
CREATE TABLE skerry.part(
  from_batch bigint PRIMARY KEY, to_batch bigint NOT NULL, name text NOT NULL);
COMMENT ON TABLE skerry.part IS 'the partitions of entry and piece by time of arrival';
CREATE TABLE skerry.entry(
  batch bigint NOT NULL, position bigint NOT NULL, epoch bigint, sequence bigint,
  at timestamptz NOT NULL, cell int NOT NULL, stream int NOT NULL, origin int NOT NULL,
  n int NOT NULL, producer text, body text NOT NULL,
  PRIMARY KEY (stream, batch, n, cell)) PARTITION BY RANGE (batch);
COMMENT ON COLUMN skerry.entry.n IS 'counted within its batch';
COMMENT ON COLUMN skerry.entry.body IS 'one JSON object, as it came';
CREATE TABLE skerry.piece(
  batch bigint NOT NULL, first_id bigint NOT NULL, last_id bigint NOT NULL, bytes bigint NOT NULL,
  from_at timestamptz NOT NULL, to_at timestamptz NOT NULL,
  cell int NOT NULL, stream int NOT NULL, n int NOT NULL,
  PRIMARY KEY (stream, last_id, batch)) PARTITION BY RANGE (batch);
CREATE INDEX piece_last ON skerry.piece(last_id);
COMMENT ON TABLE skerry.piece IS
  'what a transaction added to a stream: its places in the merged view, from entry n of the batch on';
CREATE TABLE skerry.seen(
  stream int NOT NULL, producer text NOT NULL, epoch bigint NOT NULL, block bigint NOT NULL,
  batch bigint NOT NULL, ranges int[] NOT NULL,
  PRIMARY KEY (stream, producer, epoch, block)) WITH (fillfactor = 70);
COMMENT ON TABLE skerry.seen IS
  'keys that were stored: of 4096 sequences from block * 4096 on, first and last of each run';
CREATE VIEW skerry.entries AS
  SELECT c.name AS cell, s.name AS stream, e.at, e.producer, e.epoch, e.sequence,
    o.name AS origin, e.position, e.batch, e.n, e.body::json AS body
  FROM skerry.entry e
    JOIN skerry.cell c ON c.id = e.cell
    JOIN skerry.stream s ON s.id = e.stream
    JOIN skerry.origin o ON o.id = e.origin;
`,
];

/** Throws `store-newer` or `database-forbidden`. `token` is used when the view is made. */
export async function prepareSchema(postgres: Postgres, token: string): Promise<string> {
  await preparePostgresLayout(postgres, { part: "streams", steps });
  return await postgres.use(async (session) => {
    await session.query("INSERT INTO skerry.view(token) VALUES ($1) ON CONFLICT DO NOTHING", [
      token,
    ]);
    const [row] = await session.query("SELECT token FROM skerry.view");
    return String(row?.["token"]);
  });
}
