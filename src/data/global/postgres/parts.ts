/**
 * Partitions by the time of arrival, made ahead of time and dropped whole. Neither stops writers: a
 * table is made apart and attached, and detached before it is dropped (`part-removal.ts`).
 */
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import { layoutLock, type Postgres, type Session } from "../../../runtime/postgres/index.ts";
import { removePart } from "./part-removal.ts";
import { batchesPerMs } from "./schema.ts";

const dayMs = 86_400_000;
/** Tables below each partition of `entry`, by cell: smaller indexes, and several can be vacuumed at once. */
const hashes = 4;

export type Part = { readonly fromMs: number; readonly toMs: number; readonly name: string };

export interface Parts {
  /** Whether entries that arrive at this time have a place, as far as this process knows. */
  covers(ms: number): boolean;
  /** Makes the partition for this time, and the one behind it. */
  ensure(ms: number): Promise<void>;
  /**
   * Drops what arrived before `ms` as a whole; answers how many entries that were. Not `isWhole`: what
   * is left goes later, and some of it may be counted while it is in no view any more.
   */
  dropBefore(ms: number): Promise<{ readonly removed: number; readonly isWhole: boolean }>;
}

/** An eighth of how long entries are kept, 1 to 30 days: so much longer some of them are kept. */
export const partMs = (retentionAgeMs: number | undefined): number =>
  Math.min(30, Math.max(1, Math.round((retentionAgeMs ?? Infinity) / 8 / dayMs))) * dayMs;

/** Where a partition for `ms` goes between those that are there. Pure. */
export function placeFor(ms: number, parts: readonly Part[], widthMs: number): Part | undefined {
  if (parts.some(({ fromMs, toMs }) => fromMs <= ms && ms < toMs)) return undefined;
  const before = Math.max(
    -Infinity,
    ...parts.filter((part) => part.toMs <= ms).map((part) => part.toMs),
  );
  const behind = Math.min(
    Infinity,
    ...parts.filter((part) => part.fromMs > ms).map((part) => part.fromMs),
  );
  const fromMs = Math.max(Math.floor(ms / dayMs) * dayMs, before);
  const toMs = Math.min(Math.floor(ms / dayMs) * dayMs + widthMs, behind);
  const day = new Date(fromMs).toISOString().slice(0, 10).replaceAll("-", "");
  return { fromMs, toMs, name: day };
}

export function createParts(
  deps: { postgres: Postgres; clock: Clock; log: Log },
  options: { retentionAgeMs: number | undefined },
): Parts {
  const { postgres, log } = deps;
  const widthMs = partMs(options.retentionAgeMs);
  let known: readonly Part[] = [];

  const read = async (session: Session): Promise<readonly Part[]> => {
    const rows = await session.query(
      "SELECT from_batch, to_batch, name FROM skerry.part ORDER BY from_batch",
    );
    return rows.map((row) => ({
      fromMs: Number(row["from_batch"]) / batchesPerMs,
      toMs: Number(row["to_batch"]) / batchesPerMs,
      name: String(row["name"]),
    }));
  };
  const make = async (session: Session, { fromMs, toMs, name }: Part) => {
    const [from, to] = [fromMs * batchesPerMs, toMs * batchesPerMs];
    const entry = `skerry.entry_${name}`;
    const piece = `skerry.piece_${name}`;
    const below = Array.from(
      { length: hashes },
      (_, index) =>
        `CREATE TABLE ${entry}_${index} PARTITION OF ${entry} FOR VALUES WITH (MODULUS ${hashes}, REMAINDER ${index});`,
    );
    await session.script(
      `CREATE TABLE ${entry} (LIKE skerry.entry INCLUDING DEFAULTS) PARTITION BY HASH (cell);
       ${below.join("\n")}
       ALTER TABLE skerry.entry ATTACH PARTITION ${entry} FOR VALUES FROM (${from}) TO (${to});
       CREATE TABLE ${piece} (LIKE skerry.piece INCLUDING DEFAULTS);
       ALTER TABLE skerry.piece ATTACH PARTITION ${piece} FOR VALUES FROM (${from}) TO (${to});
       INSERT INTO skerry.part VALUES (${from}, ${to}, '${name}')`,
    );
    log.info("a partition for arriving entries was made", {
      name,
      from: new Date(fromMs).toISOString(),
      to: new Date(toMs).toISOString(),
    });
  };
  return {
    covers: (ms) => known.some(({ fromMs, toMs }) => fromMs <= ms && ms < toMs),
    async ensure(ms) {
      await postgres.transaction(async (session) => {
        await session.query("SELECT pg_advisory_xact_lock($1)", [layoutLock]);
        for (const wantedMs of [ms, ms + widthMs]) {
          const part = placeFor(wantedMs, await read(session), widthMs);
          if (part) await make(session, part);
        }
      });
      known = await postgres.use(read);
    },
    async dropBefore(ms) {
      let removed = 0;
      let isWhole = true;
      for (const part of await postgres.use(read)) {
        if (part.toMs > ms) continue;
        const removal = await removePart(postgres, part, async (session) =>
          (await read(session)).some(({ name }) => name === part.name),
        );
        if (removal.state === "removed") {
          removed += removal.entries;
          continue;
        }
        log.info("a partition is removed later: somebody reads what is in it, or removes it", {
          name: part.name,
        });
        isWhole = false;
        break;
      }
      known = await postgres.use(read);
      return { removed, isWhole };
    },
  };
}
