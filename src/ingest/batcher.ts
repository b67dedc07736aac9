/**
 * Group append, fair to every producer: what waits goes to the store by deficit round robin over
 * producers (`fair-queue.ts`), and messages of all clients share batches, one per durability level,
 * and with them an fsync. Only `storeCostMax` of a level is given to the store at a time: what is
 * behind the queue is first come, first served, and would be as unfair as if there were none.
 *
 * Bounded in what one producer and all together may have waiting or under way. A batch that was
 * refused for its content is sent again in halves, so that nobody is refused for a neighbour's fault,
 * and nobody waits long for it.
 */
import { formatDurabilityLevel, type DurabilityLevel, type EntryInput } from "../api/index.ts";
import type { Clock } from "../lib/clock.ts";
import { encodeError } from "../lib/errors.ts";
import { createShares, type ShareVerdict } from "../lib/shares.ts";
import type { Metrics } from "../runtime/metrics/index.ts";
import { createFairQueue, type FairQueue } from "./fair-queue.ts";
import { halvesOf } from "./halves.ts";
import type { Append } from "./ports.ts";
import { outcomeOfPart, type Submitted } from "./shared-outcome.ts";

export type Submit = {
  readonly entries: readonly EntryInput[];
  readonly level: DurabilityLevel;
  /** Whose turn is used: an identity. */
  readonly producer: string;
  /** Takes turns with the producer's other connections; any value that is the same for one of them. */
  readonly connection: unknown;
  /**
   * A request of its own: never in one batch with others, so that the counts of its answer are its
   * own, and refused when its producer has too much waiting. Otherwise a message, whose connection
   * sends no more than it may until the answer; it waits for its turn, however long its producer's
   * line is.
   */
  readonly alone?: { readonly timeoutMs: number };
};

export interface Batcher {
  /** Never throws: what the store threw comes back as `refused`, and `isUnknown`. */
  submit(submission: Submit): Promise<Submitted>;
  /** Cost, in bytes, of what was submitted and not answered. */
  readonly waitingCost: number;
  readonly producers: number;
}

export type BatcherOptions = {
  /** Entries in one batch. Default 1024. */
  readonly entriesMax?: number;
  /** How long the store may take to reach a level. Default 10 s; a message that waited as long for its turn is refused. */
  readonly timeoutMs?: number;
  /** What one producer may have waiting, as cost. Default 8 MiB. */
  readonly producerCostMax?: number;
  /** What all may have waiting, as cost. Default 32 MiB; a quarter more for who has little. */
  readonly costMax?: number;
  /** What of one level is with the store at a time, as cost. Default 4 MiB. */
  readonly storeCostMax?: number;
};

/** What an entry costs in memory beside its body: the object, its key and its promise, roughly. */
const entryCost = 256;
const batchCostMax = 1024 * 1024;
/** A turn: some hundred small messages. */
const quantum = 32 * 1024;
const littleCostMax = 64 * 1024;

type Waiting = Submit & {
  readonly cost: number;
  readonly atMs: number;
  readonly resolve: (outcome: Submitted) => void;
};

type Lane = {
  readonly level: DurabilityLevel;
  readonly queue: FairQueue<Waiting>;
  costInStore: number;
  scheduled: boolean;
};

export function createBatcher(
  deps: { readonly append: Append; readonly clock: Clock; readonly metrics: Metrics },
  options: BatcherOptions = {},
): Batcher {
  const entriesMax = options.entriesMax ?? 1024;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const costMax = options.costMax ?? 32 * 1024 * 1024;
  const storeCostMax = options.storeCostMax ?? 4 * 1024 * 1024;
  const shares = createShares({
    perTakerMax: options.producerCostMax ?? 8 * 1024 * 1024,
    totalMax: costMax,
    reserveMax: costMax * 1.25,
    littleMax: littleCostMax,
  });
  const refusals = deps.metrics.counter(
    "skerry_ingest_refusals_total",
    "Submissions refused before the store saw them, by reason.",
    ["reason"],
  );
  const waitingBytes = deps.metrics.gauge(
    "skerry_ingest_waiting_bytes",
    "What waits for the store, as the memory that it takes.",
  );
  deps.metrics.beforeRender(() => waitingBytes.set(shares.held));
  const laneByLevel = new Map<string, Lane>();

  const append = async (
    batch: readonly Waiting[],
    level: DurabilityLevel,
    limitMs: number,
  ): Promise<Submitted> => {
    const entries = batch.flatMap((waiting) => waiting.entries);
    try {
      return await deps.append(entries, { level, timeoutMs: limitMs });
    } catch (error) {
      const { code, message, hint, retryable } = encodeError(error);
      const refusal = { code, message, retryable, ...(hint ? { hint } : {}) };
      return { state: "refused", ...refusal, isUnknown: true };
    }
  };

  const settle = (waiting: Waiting, outcome: Submitted) => {
    shares.release(waiting.producer, waiting.cost);
    waiting.resolve(outcome);
  };

  /** Until every one of a batch has its own answer. */
  const appendAll = async (batch: readonly Waiting[], level: DurabilityLevel, untilMs: number) => {
    const limitMs = Math.max(1, untilMs - deps.clock.monotonicMs());
    const outcome = await append(batch, level, limitMs);
    const isOfContent = outcome.state === "refused" && !outcome.retryable && !outcome.isUnknown;
    const found = isOfContent ? halvesOf(batch, outcome.code) : undefined;
    if (!found) {
      let from = 0;
      for (const waiting of batch) {
        const to = from + waiting.entries.length;
        settle(waiting, outcomeOfPart(outcome, { from, to, level }));
        from = to;
      }
      return;
    }
    const [first, second] = found.halves;
    const before = appendAll(first, level, untilMs);
    if (found.areInOrder) await before;
    await Promise.all([before, appendAll(second, level, untilMs)]);
  };

  const send = async (lane: Lane, batch: readonly Waiting[], limitMs: number) => {
    const cost = batch.reduce((sum, waiting) => sum + waiting.cost, 0);
    lane.costInStore += cost;
    await appendAll(batch, lane.level, deps.clock.monotonicMs() + limitMs);
    lane.costInStore -= cost;
    schedule(lane);
  };

  /** Whose time ran out before its turn came. */
  const expire = (waiting: Waiting) => {
    refusals.inc({ reason: "expired" });
    settle(waiting, {
      state: "refused",
      code: "store-busy",
      message: `the store did not come to it within ${waiting.alone?.timeoutMs ?? timeoutMs} ms`,
      hint: "slow down and send again; nothing was written",
      retryable: true,
    });
  };

  const flush = (lane: Lane) => {
    lane.scheduled = false;
    const nowMs = deps.clock.monotonicMs();
    while (lane.costInStore < storeCostMax) {
      const batch: Waiting[] = [];
      let [entries, cost] = [0, 0];
      const fits = (next: Waiting) =>
        batch.length === 0 ||
        (!next.alone &&
          !batch[0]?.alone &&
          entries + next.entries.length <= entriesMax &&
          cost + next.cost <= batchCostMax);
      for (let next = lane.queue.take(fits); next; next = lane.queue.take(fits)) {
        if (nowMs - next.atMs >= (next.alone?.timeoutMs ?? timeoutMs)) {
          expire(next);
          continue;
        }
        batch.push(next);
        entries += next.entries.length;
        cost += next.cost;
      }
      const [first] = batch;
      if (!first) break;
      const limitMs = first.alone ? first.alone.timeoutMs - (nowMs - first.atMs) : timeoutMs;
      void send(lane, batch, limitMs);
    }
    if (lane.queue.size === 0 && lane.costInStore === 0)
      laneByLevel.delete(formatDurabilityLevel(lane.level));
  };

  const schedule = (lane: Lane) => {
    if (lane.scheduled) return;
    lane.scheduled = true;
    // After the poll phase: every client's messages that arrived meanwhile share the batch.
    setImmediate(flush, lane);
  };

  const laneOf = (level: DurabilityLevel): Lane => {
    const name = formatDurabilityLevel(level);
    const known = laneByLevel.get(name);
    if (known) return known;
    const lane: Lane = {
      level,
      queue: createFairQueue({ quantum }),
      costInStore: 0,
      scheduled: false,
    };
    laneByLevel.set(name, lane);
    return lane;
  };

  const refuse = (verdict: Exclude<ShareVerdict, "taken">, producer: string): Submitted => {
    refusals.inc({ reason: verdict === "full" ? "full" : "producer-full" });
    const mebibytes = (shares.heldBy(producer) / 1024 ** 2).toFixed(1);
    return {
      state: "refused",
      ...(verdict === "full"
        ? {
            code: "store-busy",
            message: `entries of ${shares.takers} producers wait for the store already`,
          }
        : {
            code: "producer-too-fast",
            message: `${producer} has ${mebibytes} MiB waiting for the store already`,
          }),
      hint: "wait for answers before sending more; nothing of this was written",
      retryable: true,
    };
  };

  return {
    async submit(submission) {
      const { entries, level, producer, connection, alone } = submission;
      const cost = entries.reduce((sum, { body }) => sum + body.length + entryCost, 0);
      const verdict = alone ? shares.take(producer, cost) : shares.takeBounded(producer, cost);
      if (verdict !== "taken") return refuse(verdict, producer);
      return new Promise<Submitted>((resolve) => {
        const lane = laneOf(level);
        const atMs = deps.clock.monotonicMs();
        lane.queue.push({ ...submission, cost, atMs, resolve }, { producer, connection, cost });
        schedule(lane);
      });
    },
    get waitingCost() {
      return shares.held;
    },
    get producers() {
      return shares.takers;
    },
  };
}

const rank = { memory: 0, local: 1, peer: 2, hub: 3 } as const;

/** The level that promises most. */
export function strongest(levels: readonly DurabilityLevel[]): DurabilityLevel {
  return levels.reduce(
    (best, level) =>
      rank[level.level] > rank[best.level] ||
      (level.level === "peer" && best.level === "peer" && level.peers > best.peers)
        ? level
        : best,
    { level: "memory" },
  );
}
