/**
 * Tells readers that follow of new entries: at once of this process's own commits, and of other hub
 * processes' by looking at one row once a second while anybody follows. (NOTIFY would take one lock
 * for all commits of the server, and poolers do not pass it on.)
 */
import { every, type Clock, type Timer } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Postgres, Session } from "../../../runtime/postgres/index.ts";
import type { GlobalGrown } from "../store.ts";
import { batchesPerMs } from "./schema.ts";

export interface Growth {
  /** After a commit of this process. */
  committed(batch: number, grown: readonly { cell: string; stream: string }[]): void;
  /** Looks for others' entries until the function that is answered was called. */
  watch(): () => void;
  close(): void;
}

const periodMs = 1000;
const transactionMsMax = 60_000;

export function createGrowth(
  deps: { clock: Clock; log: Log; postgres: Postgres },
  options: { onGrown: (grown: readonly GlobalGrown[]) => void },
): Growth {
  const { clock, log, postgres } = deps;
  let watchers = 0;
  let timer: Timer | undefined;
  /** Places up to here were told, or belong to nobody who follows. */
  let toldTo: number | undefined;
  let watchedFromMs = 0;
  /** Of this process, told at their commit. */
  const own = new Set<number>();

  const tell = (grown: readonly { cell: string; stream: string }[]) => {
    const byCell = Map.groupBy(grown, ({ cell }) => cell);
    if (byCell.size > 0)
      options.onGrown(
        [...byCell].map(([cell, all]) => ({ cell, streams: all.map(({ stream }) => stream) })),
      );
  };
  const look = async (session: Session) => {
    const mine = [...own];
    const [row] = await session.query("SELECT next FROM skerry.view");
    const endId = Number(row?.["next"]) - 1;
    // The first look tells what may have been committed after a follower's own first look, too.
    const beganMsAgo = clock.monotonicMs() - watchedFromMs + transactionMsMax;
    const since =
      toldTo === undefined
        ? `p.batch >= floor(extract(epoch FROM clock_timestamp()) * 1000 - ${Math.round(beganMsAgo)}) * ${batchesPerMs}`
        : `p.last_id > ${toldTo}`;
    if (endId > (toldTo ?? 0)) {
      const rows = await session.query(
        `SELECT DISTINCT c.name AS cell, s.name AS stream FROM skerry.piece p
           JOIN skerry.stream s ON s.id = p.stream JOIN skerry.cell c ON c.id = s.cell
         WHERE ${since} AND p.last_id <= $1 AND NOT p.batch = ANY($2::bigint[])`,
        [endId, mine],
      );
      tell(rows.map((found) => ({ cell: String(found["cell"]), stream: String(found["stream"]) })));
    }
    toldTo = endId;
    // They were committed before this look, so the next one does not meet them.
    for (const batch of mine) own.delete(batch);
  };

  const stop = () => {
    timer?.cancel();
    timer = undefined;
    toldTo = undefined;
    own.clear();
  };
  return {
    committed(batch, grown) {
      if (batch === 0) return;
      if (timer) own.add(batch);
      tell(grown);
    },
    watch() {
      watchers++;
      if (watchers === 1) watchedFromMs = clock.monotonicMs();
      timer ??= every(
        clock,
        periodMs,
        () => postgres.use(look),
        (error) => log.warn("could not look for entries of other hub processes", { error }),
      );
      let isWatching = true;
      return () => {
        if (!isWatching) return;
        isWatching = false;
        watchers--;
        if (watchers === 0) stop();
      };
    },
    close: stop,
  };
}
