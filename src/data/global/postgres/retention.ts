/**
 * Removes what is beyond the limits, oldest first by arrival: partitions whose time has passed go
 * whole; of a stream that is too large, pieces of a transaction. A server's clock that is far from
 * this machine's removes nothing by age (D8).
 */
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Postgres } from "../../../runtime/postgres/index.ts";
import type { Parts } from "./parts.ts";

const clocksApartMaxMs = 3_600_000;
/** In one transaction. */
const piecesMax = 50;

export function createRetention(
  deps: { postgres: Postgres; parts: Parts; clock: Clock; log: Log },
  options: { ageMs: number | undefined; streamBytesMax: number },
): { sweep(): Promise<{ readonly removed: number }> } {
  const { postgres, parts, clock, log } = deps;
  const { ageMs, streamBytesMax } = options;

  const byAge = async (): Promise<{ removed: number; isWhole: boolean }> => {
    if (ageMs === undefined) return { removed: 0, isWhole: true };
    const [row] = await postgres.use((session) =>
      session.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now"),
    );
    const nowMs = Number(row?.["now"]);
    if (Math.abs(nowMs - clock.wallMs()) > clocksApartMaxMs) {
      log.warn("nothing is removed by age: the clocks of PostgreSQL and of this machine differ", {
        postgres: new Date(nowMs).toISOString(),
        here: new Date(clock.wallMs()).toISOString(),
      });
      return { removed: 0, isWhole: true };
    }
    return await parts.dropBefore(nowMs - ageMs);
  };

  /** The oldest pieces of a stream, no more than is too much; what was removed. */
  const step = (stream: number): Promise<number> =>
    postgres.transaction(async (session) => {
      const [row] = await session.query(
        "SELECT bytes FROM skerry.stream WHERE id = $1 FOR NO KEY UPDATE",
        [stream],
      );
      let excess = Number(row?.["bytes"] ?? 0) - streamBytesMax;
      const oldest = await session.query(
        `SELECT batch, last_id, last_id - first_id + 1 AS entries, bytes FROM skerry.piece
         WHERE stream = $1 ORDER BY last_id LIMIT $2`,
        [stream, piecesMax],
      );
      const going = oldest.filter((piece) => {
        const goes = excess > 0;
        excess -= Number(piece["bytes"]);
        return goes;
      });
      if (going.length === 0) return 0;
      const batches = going.map((piece) => piece["batch"]);
      const ofThese = "stream = $1 AND batch = ANY($2::bigint[])";
      await session.query(`DELETE FROM skerry.entry WHERE ${ofThese}`, [stream, batches]);
      await session.query(`DELETE FROM skerry.piece WHERE ${ofThese}`, [stream, batches]);
      const sum = (name: string) => going.reduce((total, piece) => total + Number(piece[name]), 0);
      await session.query(
        "UPDATE skerry.stream SET entries = entries - $2, bytes = bytes - $3 WHERE id = $1",
        [stream, sum("entries"), sum("bytes")],
      );
      return sum("entries");
    });

  return {
    async sweep() {
      const aged = await byAge();
      let { removed } = aged;
      // By counts that are too high, entries that are not old would have to go.
      if (!aged.isWhole) return { removed };
      const large = await postgres.use((session) =>
        session.query("SELECT id FROM skerry.stream WHERE bytes > $1", [streamBytesMax]),
      );
      for (const row of large) {
        for (;;) {
          const gone = await step(Number(row["id"]));
          if (gone === 0) break;
          removed += gone;
        }
      }
      return { removed };
    },
  };
}
