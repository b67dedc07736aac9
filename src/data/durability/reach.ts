/**
 * Waiting for a level (D6): it holds when the durable vectors of that many other nodes, or the hub's,
 * cover what was written. Nothing is rounded up.
 */
import type { DurabilityLevel } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { covers } from "../replication/vectors.ts";
import { laneName } from "../tables/lanes.ts";
import type { Vector } from "../replication/replicated.ts";

export type ReachDeps = {
  /** The node whose own vector does not count. */
  readonly node: string;
  /** Durable vectors of the other nodes. */
  readonly peers: {
    vectorsByNode(): ReadonlyMap<string, Vector>;
    on(event: "vectors", listener: () => void): () => void;
  };
  /** Absent: nothing goes to a hub. */
  readonly hub?: { vector(): Vector; on(event: "vector", listener: () => void): () => void };
  /** Whether the cell has a hub, of which a node may hear late. Absent: it has `hub`. */
  readonly hasHub?: () => boolean;
  /** Nodes of the cell now, this one included. */
  readonly cellNodes: () => number;
  readonly clock: Clock;
};

export type Impossible = {
  readonly state: "refused";
  readonly code: "level-impossible";
  readonly message: string;
  readonly hint: string;
  readonly retryable: false;
};

export type WaitOptions = {
  /** Of the monotonic clock. */
  readonly untilMs: number;
  /** Streams or collections that were written to, where each may go to the hub on its own (`tables/lanes.ts`). */
  readonly streams?: readonly string[];
};

export interface Reach {
  /** True once the level holds; false when it does not at `untilMs`. */
  wait(level: DurabilityLevel, cover: Vector, options: WaitOptions): Promise<boolean>;
  /** What is seen to hold now, of what is committed here. */
  now(cover: Vector): DurabilityLevel;
  /** Why more peers were asked for than there are. */
  tooManyPeers(level: DurabilityLevel): Impossible | undefined;
  readonly waiting: number;
  stop(): void;
}

export const levelImpossible = (message: string, hint: string): Impossible => ({
  state: "refused",
  code: "level-impossible",
  message,
  hint,
  retryable: false,
});

/** A stream with an open lane is at the hub as far as that is, any other as far as the rest of its log. */
const hubCovers = (vector: Vector, cover: Vector, streams: readonly string[]): boolean =>
  streams.length === 0
    ? covers(vector, cover)
    : streams.every((stream) =>
        Object.entries(cover).every(
          ([origin, top]) => (vector[laneName(origin, stream)] ?? vector[origin] ?? 0) >= top,
        ),
      );

type Waiter = { readonly isReached: () => boolean; readonly settle: () => void };

export function createReach({ node, peers, hub, cellNodes, clock }: ReachDeps): Reach {
  const waiters = new Set<Waiter>();
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
    for (const [peer, vector] of peers.vectorsByNode())
      if (peer !== node && covers(vector, cover)) count++;
    return count;
  };
  const isReached = (level: DurabilityLevel, cover: Vector, streams: readonly string[]): boolean =>
    level.level === "peer"
      ? holders(cover) >= level.peers
      : level.level !== "hub" || (hub !== undefined && hubCovers(hub.vector(), cover, streams));

  return {
    wait(level, cover, { untilMs, streams = [] }) {
      if (isReached(level, cover, streams)) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (reached: boolean) => {
          waiters.delete(waiter);
          timer.cancel();
          resolve(reached);
        };
        const waiter: Waiter = {
          isReached: () => isReached(level, cover, streams),
          settle: () => end(true),
        };
        waiters.add(waiter);
        const timer = clock.after(untilMs - clock.monotonicMs(), () =>
          end(isReached(level, cover, streams)),
        );
      });
    },
    now(cover) {
      const count = holders(cover);
      return count > 0 ? { level: "peer", peers: count } : { level: "local" };
    },
    tooManyPeers(level) {
      const nodes = cellNodes();
      if (level.level !== "peer" || level.peers < nodes) return undefined;
      return levelImpossible(
        `level: peer(${level.peers}) needs ${level.peers} nodes beside this one, the cell has ${nodes} in all`,
        nodes > 1 ? `ask for peer(${nodes - 1}) or less` : "ask for local, or add nodes",
      );
    },
    get waiting() {
      return waiters.size;
    },
    stop() {
      for (const unsubscribe of unsubscribes) unsubscribe?.();
    },
  };
}
