/**
 * How far a write reached before it is acknowledged (D6). Pure bookkeeping over durable vectors: a
 * level holds when the vectors of that many other nodes, or the hub's, cover every position of the
 * request. Nothing is rounded up; what takes too long is answered with what was seen to hold.
 */
import {
  formatDurabilityLevel,
  type AppendOutcome,
  type DurabilityLevel,
  type EntryInput,
} from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { withoutLogs } from "../replication/vectors.ts";
import { watchLate } from "../streams/refusal.ts";
import type { Refused, StreamStore, Vector } from "../streams/store.ts";
import { laneName } from "../tables/lanes.ts";
import { createReach, levelImpossible, type Impossible, type ReachDeps } from "./reach.ts";

export type DurabilityDeps = Omit<ReachDeps, "node"> & {
  readonly store: Pick<StreamStore, "node" | "append" | "offer" | "vector" | "lanes">;
  /** Whether anything of a stream may leave the cell. */
  readonly leaves: (stream: string) => boolean;
  readonly log: Log;
};

/** What entries of a stream are to reach. */
export type PromisedLevel = { readonly stream: string; readonly level: DurabilityLevel };

/** `asked`: a level that was not reached in time. */
export type Settled = { readonly reached: DurabilityLevel; readonly asked?: DurabilityLevel };

export interface Durability {
  /**
   * Stores a batch, all or nothing, and waits for the level. Refuses what can never be reached:
   * `level-impossible`. Rejects when the store failed in a way that leaves the outcome unknown.
   */
  append(
    batch: readonly EntryInput[],
    options: { level: DurabilityLevel; timeoutMs: number },
  ): Promise<AppendOutcome>;
  /** Why one of these can never be reached: for what is stored by other ways than `append`. */
  refusal(promised: readonly PromisedLevel[]): Impossible | undefined;
  /**
   * Waits until what was committed under `cover` is where its streams shall be. Without `cover`: all of
   * these that was committed here so far.
   */
  settle(
    promised: readonly PromisedLevel[],
    options: { cover: Vector | undefined; timeoutMs: number },
  ): Promise<Settled>;
  /** Entries acknowledged at `memory` that came to nothing since the start. */
  readonly lostInMemory: number;
  readonly waiting: number;
  stop(): void;
}

export function createDurability(deps: DurabilityDeps): Durability {
  const { store, hub, clock, log } = deps;
  const reach = createReach({ ...deps, node: store.node });
  let lostInMemory = 0;

  const impossible = (
    level: DurabilityLevel,
    batch: readonly Pick<EntryInput, "stream">[],
  ): Impossible | undefined => {
    const tooMany = reach.tooManyPeers(level);
    if (tooMany) return tooMany;
    if (level.level !== "hub") return undefined;
    if (!hub || deps.hasHub?.() === false)
      return levelImpossible("level: this cell has no hub", "ask for local or peer(k)");
    const staying = batch.find(({ stream }) => !deps.leaves(stream));
    return staying
      ? levelImpossible(
          `level: stream ${staying.stream} has no egress, so its entries never reach the hub`,
          "ask for local or peer(k), or give the Stream an egress section",
        )
      : undefined;
  };

  /** What was answered with `memory` came to nothing, and nobody else is told. */
  const lost = (entries: number) => (failure: Refused | Error) => {
    lostInMemory += entries;
    log.warn("entries acknowledged at level memory were lost", {
      entries,
      ...(failure instanceof Error
        ? { error: failure }
        : { code: failure.code, reason: failure.message }),
    });
  };

  const appendInMemory = (batch: readonly EntryInput[]): AppendOutcome => {
    const refused = store.offer(batch, lost(batch.length));
    if (refused) return refused;
    return { state: "reached", reached: { level: "memory" }, stored: batch.length, duplicates: 0 };
  };

  return {
    async append(batch, { level, timeoutMs }) {
      const refused = impossible(level, batch);
      if (refused) return refused;
      if (level.level === "memory") return appendInMemory(batch);
      const untilMs = clock.monotonicMs() + timeoutMs;
      const work = store.append(batch);
      const answer = await beforeDeadline(clock, work, timeoutMs);
      if (!answer) {
        watchLate(work, lost(batch.length));
        return { state: "short", reached: { level: "memory" }, stored: 0, duplicates: 0 };
      }
      if (answer.state === "refused") return answer;
      const { stored, duplicates, removed, cover } = answer;
      const streams = [...new Set(batch.map(({ stream }) => stream))];
      const isReached = await reach.wait(level, cover, { untilMs, streams });
      const state = isReached ? "reached" : "short";
      // Of what retention removed nobody else is seen to have anything, and nothing will come of waiting.
      if (removed) return { state, reached: { level: "local" }, stored, duplicates, removed };
      return { state, reached: isReached ? level : reach.now(cover), stored, duplicates };
    },
    refusal(promised) {
      for (const { stream, level } of promised) {
        const refused = impossible(level, [{ stream }]);
        if (refused) return refused;
      }
      return undefined;
    },
    async settle(promised, { cover, timeoutMs }) {
      const untilMs = clock.monotonicMs() + timeoutMs;
      const isForeign = (log: string) => !log.startsWith(`${store.node}.`);
      const committed = cover ?? withoutLogs(await store.vector(), isForeign);
      const lanes = cover ? {} : await store.lanes();
      // The lane of a stream stands still behind its last entry, while the log goes on with others.
      const committedOf = (stream: string): Vector =>
        Object.fromEntries(
          Object.entries(committed).map(([origin, top]) => [
            origin,
            lanes[laneName(origin, stream)] ?? top,
          ]),
        );
      const missed = await Promise.all(
        promised.map(async ({ stream, level }) => {
          const options = { untilMs, streams: [stream] };
          return (await reach.wait(level, committedOf(stream), options)) ? [] : [level];
        }),
      );
      const [asked] = missed.flat();
      const levels = new Map(promised.map(({ level }) => [formatDurabilityLevel(level), level]));
      const [level] = levels.values();
      // Of several levels none says what holds for all of it; and what is committed is on this disk.
      const isAll = asked === undefined && levels.size === 1 && level?.level !== "memory";
      const reached = level && isAll ? level : reach.now(committed);
      return asked ? { reached, asked } : { reached };
    },
    get lostInMemory() {
      return lostInMemory;
    },
    get waiting() {
      return reach.waiting;
    },
    stop() {
      reach.stop();
    },
  };
}

/** Undefined when the time ran out; the work goes on, and may still succeed. */
export async function beforeDeadline<T>(
  clock: Clock,
  work: Promise<T>,
  timeoutMs: number,
): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = clock.after(timeoutMs, () => late.resolve(undefined));
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    timer.cancel();
  }
}
