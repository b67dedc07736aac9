/**
 * Keys that retention removed, by producer and epoch: resends of them are not stored again. Nothing is
 * in here that was not removed: of what is more than the bounds the lowest sequences and epochs are
 * forgotten, and a resend of them is taken for new (D4, D9).
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
/** Per producer: one that begins a new epoch with each start resends of the latest. */
const epochsMax = 16;

type RangesByEpoch = Map<number, readonly Range[]>;

export function createRemovedKeys(db: Database): RemovedKeys {
  const upsert = db.prepare(
    "INSERT INTO removed VALUES (?, ?, ?) ON CONFLICT(producer, epoch) DO UPDATE SET ranges = excluded.ranges",
  );
  const remove = db.prepare("DELETE FROM removed WHERE producer = ? AND epoch = ?");
  const epochsByProducer = new Map<number, RangesByEpoch>();
  const epochsOf = (producer: number): RangesByEpoch => {
    const known = epochsByProducer.get(producer);
    if (known) return known;
    const epochs: RangesByEpoch = new Map();
    epochsByProducer.set(producer, epochs);
    return epochs;
  };
  const load = () => {
    epochsByProducer.clear();
    for (const row of db.prepare("SELECT producer, epoch, ranges FROM removed").all())
      epochsOf(Number(row["producer"])).set(
        Number(row["epoch"]),
        JSON.parse(String(row["ranges"])) as Range[],
      );
  };
  load();

  return {
    has(producer, epoch, sequence) {
      const ranges = epochsByProducer.get(producer)?.get(epoch);
      return ranges !== undefined && includesNumber(ranges, sequence);
    },
    add(runs) {
      for (const [producer, ofProducer] of Map.groupBy(runs, (run) => run.producer)) {
        const epochs = epochsOf(producer);
        const changed = Map.groupBy(ofProducer, (run) => run.epoch);
        for (const [epoch, same] of changed) {
          const added = same.map(({ first, last }): Range => [first, last]);
          epochs.set(epoch, addRanges(epochs.get(epoch) ?? [], added, rangesMax));
        }
        const inOrder = [...epochs.keys()].sort((a, b) => a - b);
        for (const lowest of inOrder.slice(0, Math.max(0, inOrder.length - epochsMax))) {
          epochs.delete(lowest);
          remove.run(producer, lowest);
        }
        for (const epoch of changed.keys()) {
          const ranges = epochs.get(epoch);
          if (ranges) upsert.run(producer, epoch, JSON.stringify(ranges));
        }
      }
    },
    forget: load,
  };
}
