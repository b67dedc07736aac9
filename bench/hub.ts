/**
 * Entries into PostgreSQL through the hub's store, against COPY and INSERT … FROM unnest of the same
 * rows from the same process into a bare table without an index, at the same durability (fsync,
 * synchronous_commit = on, 5000 rows a transaction, two connections), interleaved in one run. The
 * store unpacks what cells sent, looks again at what may leave, and takes each entry once.
 */
import { encodeBatch, openPostgresStore } from "../src/data/index.ts";
import { copyEntries, encodeRows, type EntryRow } from "../src/data/global/postgres/rows.ts";
import { silentLog } from "../src/lib/log.ts";
import { createRecheck } from "../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";
import { parsePostgresUrl, type Postgres } from "../src/runtime/postgres/index.ts";
import { startPostgres, type TestPostgres } from "../test/support/postgres.ts";
import { CannotRun, interleave, type BenchOptions, type BenchResult } from "./support/bench.ts";
import { readings } from "./support/readings.ts";

const entries = 120_000;
const cells = 12;
const producers = 20;
/** What a node sends at a time. */
const batchEntries = 1000;
/** Batches of a node under way, as its hub sync has them. */
const windowBatches = 4;
const transactionRows = 5000;
const connections = 2;

type Measured = { readonly rowsPerSecond: number; readonly entryBytes: number };

const bareTable = `CREATE TABLE bare(batch bigint, position bigint, epoch bigint, sequence bigint,
  at timestamptz, cell int, stream int, origin int, n int, producer text, body text)`;
const startMs = 1_700_000_000_000;
const keyOf = (index: number) => ({
  producer: `device-${index % producers}`,
  epoch: 1,
  sequence: 1 + Math.floor(index / producers),
});

/** Packed as they cross the link: the work of cells is not measured. */
function batchesOf(bodies: readonly Buffer[]): { cell: string; batches: Uint8Array[] }[] {
  const perCell = entries / cells;
  return Array.from({ length: cells }, (_, cell) => ({
    cell: `cell-${cell}`,
    batches: Array.from({ length: perCell / batchEntries }, (__, batch) => {
      const from = batch * batchEntries + 1;
      return encodeBatch({
        origin: "n1.x",
        from,
        to: from + batchEntries - 1,
        entries: Array.from({ length: batchEntries }, (___, index) => ({
          stream: "telemetry",
          atMs: startMs + from + index,
          key: keyOf(from - 1 + index),
          body: bodies[cell * perCell + from - 1 + index] as Buffer,
          position: { origin: "n1.x", sequence: from + index },
        })),
        policies: { telemetry: { keep: ["cpu", "memory", "disk", "host", "state", "celsius"] } },
      });
    }),
  }));
}

async function measureStore(
  server: TestPostgres,
  sent: ReturnType<typeof batchesOf>,
): Promise<Measured> {
  const url = await server.freshUrl();
  const store = await openPostgresStore(
    { clock: systemClock, random: systemRandom, log: silentLog, recheck: createRecheck() },
    { address: parsePostgresUrl(url) },
  );
  const beganMs = performance.now();
  await Promise.all(
    sent.map(async ({ cell, batches }) => {
      for (let first = 0; first < batches.length; first += windowBatches)
        await Promise.all(
          batches
            .slice(first, first + windowBatches)
            .map((bytes) => store.ingest(cell, new Uint8Array(bytes))),
        );
    }),
  );
  const tookMs = performance.now() - beganMs;
  const stored = (await store.streams()).reduce((sum, stream) => sum + stream.entries, 0);
  if (stored !== entries) throw new Error(`${stored} of ${entries} entries were stored`);
  await store.close();
  return { rowsPerSecond: (entries / tookMs) * 1000, entryBytes: await sizeOf(server, url) };
}

async function measureBare(
  server: TestPostgres,
  bodies: readonly Buffer[],
  write: (postgres: Postgres, rows: readonly EntryRow[]) => Promise<unknown>,
): Promise<Measured> {
  const url = await server.freshUrl();
  await using postgres = await server.open(url);
  await postgres.use((session) => session.script(bareTable));
  const groups = Array.from({ length: entries / transactionRows }, (_, group) =>
    bodies
      .slice(group * transactionRows, (group + 1) * transactionRows)
      .map((body, index): EntryRow => ({
        ...keyOf(group * transactionRows + index),
        position: group * transactionRows + index + 1,
        atMs: startMs + index,
        cell: 1,
        stream: 1,
        origin: 1,
        body,
      })),
  );
  const beganMs = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      for (let rows = groups.pop(); rows; rows = groups.pop()) await write(postgres, rows);
    }),
  );
  const tookMs = performance.now() - beganMs;
  return { rowsPerSecond: (entries / tookMs) * 1000, entryBytes: await sizeOf(server, url) };
}

const copyBare = copyEntries.replace("skerry.entry", "bare");
const byCopy = (postgres: Postgres, rows: readonly EntryRow[]) =>
  postgres.use((session) => session.copyIn(copyBare, encodeRows(1, rows)));

const byUnnest = (postgres: Postgres, rows: readonly EntryRow[]) =>
  postgres.use((session) =>
    session.query(
      `INSERT INTO bare SELECT 1, u.position, u.epoch, u.sequence, to_timestamp(u.at / 1000.0),
         u.cell, u.stream, u.origin, u.n, u.producer, u.body
       FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::int[], $8::int[], $9::text[], $10::text[])
         AS u(position, epoch, sequence, at, cell, stream, origin, n, producer, body)`,
      [
        rows.map(({ position }) => position),
        rows.map(({ epoch }) => epoch),
        rows.map(({ sequence }) => sequence),
        rows.map(({ atMs }) => atMs),
        rows.map(({ cell }) => cell),
        rows.map(({ stream }) => stream),
        rows.map(({ origin }) => origin),
        rows.map((_, n) => n),
        rows.map(({ producer }) => producer),
        rows.map(({ body }) => Buffer.from(body).toString()),
      ],
      { name: "unnest" },
    ),
  );

/** Tables and indexes of this database, without what every database has. */
async function sizeOf(server: TestPostgres, url: string): Promise<number> {
  await using postgres = await server.open(url);
  const [row] = await postgres.use((session) =>
    session.query(
      `SELECT sum(pg_table_size(c.oid) + pg_indexes_size(c.oid))::bigint AS bytes FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND n.nspname IN ('skerry', 'public')`,
    ),
  );
  return Number(row?.["bytes"]) / entries;
}

export const about =
  "entries into PostgreSQL through the hub's store, against bare COPY and unnest";

export async function run(options: BenchOptions): Promise<BenchResult> {
  const bodies = readings({ count: entries, producers });
  const sent = batchesOf(bodies);
  await using server = await startPostgres({
    host: "127.0.66.1",
    onDisk: ["shared_buffers=256MB", "max_wal_size=4GB", "min_wal_size=1GB"],
  }).catch((error: Error) => {
    throw new CannotRun(error.message);
  });
  const measured = await interleave(options, {
    copy: () => measureBare(server, bodies, byCopy),
    unnest: () => measureBare(server, bodies, byUnnest),
    store: () => measureStore(server, sent),
  });
  const { copy, unnest, store } = measured;
  const row = (what: string, { rowsPerSecond, entryBytes }: Measured) => ({
    what,
    "entries/s": Math.round(rowsPerSecond),
    "B/entry on disk": Math.round(entryBytes),
  });
  return {
    ratios: {
      "copy.throughput": store.rowsPerSecond / copy.rowsPerSecond,
      "unnest.throughput": store.rowsPerSecond / unnest.rowsPerSecond,
    },
    figures: {
      entriesPerSecond: store.rowsPerSecond,
      copyRowsPerSecond: copy.rowsPerSecond,
      unnestRowsPerSecond: unnest.rowsPerSecond,
      entryBytes: store.entryBytes,
    },
    table: [
      row("bare COPY (ceiling)", copy),
      row("bare INSERT … unnest", unnest),
      row("hub's store", store),
    ],
  };
}
