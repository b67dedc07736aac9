/**
 * Keys that retention removed, by producer and epoch: resends of them are not stored again. Nothing is
 * in here that was not removed: of what is more than the bound the lowest sequences are forgotten, and
 * a resend of them is taken for new (D4).
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import { addRanges, includesNumber, type Range } from "./ranges.ts";
import type { Run } from "./sealed-keys.ts";

export interface RemovedKeys {
  has(producer: number, epoch: number, sequence: number): boolean;
  /** Inside a transaction. */
  add(runs: Iterable<Run>): void;
  forget(): void;
}

/** Per producer and epoch; a producer in order needs one. */
const rangesMax = 16;

export function createRemovedKeys(db: Database): RemovedKeys {
  const upsert = db.prepare(
    "INSERT INTO removed VALUES (?, ?, ?) ON CONFLICT(producer, epoch) DO UPDATE SET ranges = excluded.ranges",
  );
  let rangesByKey = new Map<string, Range[]>();
  const load = () => {
    rangesByKey = new Map(
      db
        .prepare("SELECT producer, epoch, ranges FROM removed")
        .all()
        .map((row) => [
          `${row["producer"]}/${row["epoch"]}`,
          JSON.parse(String(row["ranges"])) as Range[],
        ]),
    );
  };
  load();

  return {
    has: (producer, epoch, sequence) =>
      rangesByKey.size > 0 &&
      includesNumber(rangesByKey.get(`${producer}/${epoch}`) ?? [], sequence),
    add(runs) {
      for (const [at, same] of Map.groupBy(runs, (run) => `${run.producer}/${run.epoch}`)) {
        const added = same.map(({ first, last }): Range => [first, last]);
        const ranges = addRanges(rangesByKey.get(at) ?? [], added, rangesMax);
        rangesByKey.set(at, ranges);
        const [{ producer, epoch } = { producer: 0, epoch: 0 }] = same;
        upsert.run(producer, epoch, JSON.stringify(ranges));
      }
    },
    forget: load,
  };
}
