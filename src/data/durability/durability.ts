/**
 * How far a write reached before it is acknowledged (D6). Pure bookkeeping over durable vectors: a
 * level holds when the vectors of that many other nodes, or the hub's, cover every position of the
 * request. Nothing is rounded up; what takes too long is answered with what was seen to hold.
 */
import type { AppendOutcome, DurabilityLevel, EntryInput } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { covers } from "../replication/messages.ts";
import type { StreamStore, Vector } from "../streams/store.ts";

export type DurabilityDeps = {
  readonly store: Pick<StreamStore, "node" | "append" | "offer">;
  /** Durable vectors of the other nodes. */
  readonly peers: {
    vectorsByNode(): ReadonlyMap<string, Vector>;
    on(event: "vectors", listener: () => void): () => void;
  };
  /** Absent: this cell has no hub. */
  readonly hub?: { vector(): Vector; on(event: "vector", listener: () => void): () => void };
  /** Nodes of the cell now, this one included. */
  readonly cellNodes: () => number;
  /** Whether anything of a stream may leave the cell. */
  readonly leaves: (stream: string) => boolean;
  readonly clock: Clock;
  readonly log: Log;
};

export interface Durability {
  /**
   * Stores a batch, all or nothing, and waits for the level. Refuses what can never be reached:
   * `level-impossible`. Rejects when the store failed in a way that leaves the outcome unknown.
   */
  append(
    batch: readonly EntryInput[],
    options: { level: DurabilityLevel; timeoutMs: number },
  ): Promise<AppendOutcome>;
  /** Entries acknowledged at `memory` that came to nothing since the start. */
  readonly lostInMemory: number;
  readonly waiting: number;
  stop(): void;
}

type Waiter = { readonly isReached: () => boolean; readonly settle: () => void };

export function createDurability(deps: DurabilityDeps): Durability {
  const { store, peers, hub, clock, log } = deps;
  const waiters = new Set<Waiter>();
  let lostInMemory = 0;
  let scheduled = false;

  /** Many vectors change in one tick; each waiter is looked at once. */
  const schedule = () => {
    if (scheduled || waiters.size === 0) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      for (const waiter of waiters) if (waiter.isReached()) waiter.settle();
    });
  };
  const unsubscribes = [peers.on("vectors", schedule), hub?.on("vector", schedule)];

  const holders = (cover: Vector): number => {
    let count = 0;
    for (const [node, vector] of peers.vectorsByNode())
      if (node !== store.node && covers(vector, cover)) count++;
    return count;
  };
  const isReached = (level: DurabilityLevel, cover: Vector): boolean =>
    level.level === "peer"
      ? holders(cover) >= level.peers
      : level.level !== "hub" || (hub !== undefined && covers(hub.vector(), cover));
  const reachedNow = (cover: Vector): DurabilityLevel => {
    const count = holders(cover);
    return count > 0 ? { level: "peer", peers: count } : { level: "local" };
  };

  const wait = (level: DurabilityLevel, cover: Vector, untilMs: number): Promise<boolean> => {
    if (isReached(level, cover)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (reached: boolean) => {
        waiters.delete(waiter);
        timer.cancel();
        resolve(reached);
      };
      const waiter: Waiter = {
        isReached: () => isReached(level, cover),
        settle: () => end(true),
      };
      waiters.add(waiter);
      const timer = clock.after(untilMs - clock.monotonicMs(), () => end(isReached(level, cover)));
    });
  };

  const impossible = (
    level: DurabilityLevel,
    batch: readonly EntryInput[],
  ): (AppendOutcome & { state: "refused" }) | undefined => {
    const refuse = (message: string, hint: string) =>
      ({ state: "refused", code: "level-impossible", message, hint, retryable: false }) as const;
    if (level.level === "peer" && level.peers >= deps.cellNodes()) {
      const nodes = deps.cellNodes();
      return refuse(
        `level: peer(${level.peers}) needs ${level.peers} nodes beside this one, the cell has ${nodes} in all`,
        nodes > 1 ? `ask for peer(${nodes - 1}) or less` : "ask for local, or add nodes",
      );
    }
    if (level.level !== "hub") return undefined;
    if (!hub) return refuse("level: this cell has no hub", "ask for local or peer(k)");
    const staying = batch.find(({ stream }) => !deps.leaves(stream));
    return staying
      ? refuse(
          `level: stream ${staying.stream} has no egress, so its entries never reach the hub`,
          "ask for local or peer(k), or give the Stream an egress section",
        )
      : undefined;
  };

  const appendInMemory = (batch: readonly EntryInput[]): AppendOutcome => {
    const refused = store.offer(batch, (failure) => {
      lostInMemory += batch.length;
      log.warn("entries acknowledged at level memory were lost", {
        entries: batch.length,
        ...(failure instanceof Error
          ? { error: failure }
          : { code: failure.code, reason: failure.message }),
      });
    });
    if (refused) return refused;
    return { state: "reached", reached: { level: "memory" }, stored: batch.length, duplicates: 0 };
  };

  return {
    async append(batch, { level, timeoutMs }) {
      const refused = impossible(level, batch);
      if (refused) return refused;
      if (level.level === "memory") return appendInMemory(batch);
      const untilMs = clock.monotonicMs() + timeoutMs;
      const answer = await beforeDeadline(clock, store.append(batch), timeoutMs);
      if (!answer)
        return { state: "short", reached: { level: "memory" }, stored: 0, duplicates: 0 };
      if (answer.state === "refused") return answer;
      const { stored, duplicates, cover } = answer;
      const reached = await wait(level, cover, untilMs);
      return reached
        ? { state: "reached", reached: level, stored, duplicates }
        : { state: "short", reached: reachedNow(cover), stored, duplicates };
    },
    get lostInMemory() {
      return lostInMemory;
    },
    get waiting() {
      return waiters.size;
    },
    stop() {
      for (const unsubscribe of unsubscribes) unsubscribe?.();
    },
  };
}

/** Undefined when the time ran out; the work goes on, and may still succeed. */
async function beforeDeadline<T>(
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
