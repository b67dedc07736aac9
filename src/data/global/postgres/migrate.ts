/**
 * The streams of a hub from its SQLite file into PostgreSQL. Run again after a break it goes on: what
 * is there is known by its position. At the end every stream is counted on both sides.
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { openPostgres, type PostgresAddress } from "../../../runtime/postgres/index.ts";
import { encodeBatch } from "../../batch/codec.ts";
import type { Vector } from "../../streams/store.ts";
import type { GlobalWalk } from "../sqlite/walk.ts";
import { openPostgresStore } from "./store.ts";

export type MigrationProgress = { readonly entries: number; readonly total: number };
export type MigrationResult = {
  readonly cells: number;
  readonly streams: number;
  /** Of the file, all of them in PostgreSQL now. */
  readonly entries: number;
  /** Of these, there before this run. */
  readonly before: number;
};

/** Throws `migration-differs`, and what either store throws. */
export async function migrateStreams(
  deps: { clock: Clock; random: Random; log: Log },
  options: {
    walk: GlobalWalk;
    address: PostgresAddress;
    signal: AbortSignal;
    onProgress: (progress: MigrationProgress) => void;
  },
): Promise<MigrationResult> {
  const { walk, address, signal, onProgress } = options;
  // What stands in the file was looked at when it came.
  const recheck = { check: () => {} };
  const store = await openPostgresStore({ ...deps, recheck }, { address });
  const total = sum(walk.counts.values());
  try {
    const before = sum((await store.streams()).map(({ entries }) => entries));
    const tops = new Map<string, Vector>();
    for (const cell of walk.cells) tops.set(cell, await store.vector(cell));
    let entries = before;
    onProgress({ entries, total });
    for (const batches of walk.batches(tops)) {
      signal.throwIfAborted();
      const answers = await Promise.all(
        batches.map(({ cell, batch }) => store.ingest(cell, encodeBatch(batch))),
      );
      entries += sum(answers.map(({ stored }) => stored));
      onProgress({ entries, total });
    }
    await compare(deps, { counts: walk.counts, address });
    return { cells: walk.cells.length, streams: walk.counts.size, entries: total, before };
  } finally {
    await store.close();
  }
}

/** The rows themselves are counted, not what the stores say of them. */
async function compare(
  deps: { clock: Clock; log: Log },
  { counts, address }: { counts: ReadonlyMap<string, number>; address: PostgresAddress },
): Promise<void> {
  const postgres = await openPostgres(deps, address, {
    application: "skerry-migrate",
    connectionsMax: 1,
    timeoutMs: 3_600_000,
  });
  try {
    const rows = await postgres.use(async (session) => {
      await session.query("SET statement_timeout = 0");
      return await session.query(
        `SELECT c.name AS cell, s.name AS stream, (
           SELECT count(*) FROM skerry.entry e WHERE e.stream = s.id) AS entries
         FROM skerry.stream s JOIN skerry.cell c ON c.id = s.cell`,
      );
    });
    const there = new Map(
      rows.map((row) => [
        `${String(row["cell"])}/${String(row["stream"])}`,
        Number(row["entries"]),
      ]),
    );
    const differing = [...counts].filter(([name, count]) => (there.get(name) ?? 0) !== count);
    if (differing.length === 0) return;
    throw new SkerryError({
      code: "migration-differs",
      message: `not the same on both sides: ${differing
        .slice(0, 5)
        .map(
          ([name, count]) =>
            `${name} has ${count} entries in the file and ${there.get(name) ?? 0} in PostgreSQL`,
        )
        .join("; ")}`,
      hint: "the file is as it was; DROP SCHEMA skerry CASCADE there and migrate again, with no hub on that database",
    });
  } finally {
    await postgres.close();
  }
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
