/**
 * When the log of documents is forgotten: what every node of the cell and the hub have, durably. A node
 * or a hub that was not heard of for `awayMsMax` is waited for no longer, and a log that is larger than
 * `bytesMax` loses its beginning whoever lacks it: they get the documents instead (M15). Who is no
 * longer a node of the cell counts for nothing. Time is counted from this process's start on, by the
 * monotonic clock, so a wall clock that steps forgets nothing.
 */
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { TruncateLimits, Truncated } from "../documents/truncate.ts";
import type { Replication } from "./peers.ts";
import type { Vector } from "./replicated.ts";

export type TruncationOptions = {
  readonly node: string;
  /** Default 30,000. */
  readonly periodMs?: number;
  /** Default 7 days. */
  readonly awayMsMax?: number;
  /** Of the text of all operations. Default 256 MiB. */
  readonly bytesMax?: number;
};

export interface Truncation {
  stop(): void;
}

const dayMs = 86_400_000;
/** Operations in one transaction. */
const rowsMax = 2000;

export function createTruncation(
  deps: {
    readonly store: {
      vector(): Promise<Vector>;
      truncate(limits: TruncateLimits): Promise<Truncated>;
    };
    readonly peers: Pick<Replication, "vectorsByNode" | "on">;
    /** Of the cell now, this one included; without it they are not known yet. */
    readonly nodes: () => readonly string[];
    /** Absent: nothing goes to a hub. */
    readonly hub?: {
      /** Whether anything leaves; what the hub has of that. */
      readonly isFed: boolean;
      vector(): Vector;
      on(event: "vector", listener: () => void): () => void;
    };
    /** Whether the cell has a hub, of which a node may hear late. Absent: it has `hub`. */
    readonly hasHub?: () => boolean;
    readonly clock: Clock;
    readonly log: Log;
  },
  options: TruncationOptions,
): Truncation {
  const { store, peers, nodes, hub, clock, log } = deps;
  const awayMsMax = options.awayMsMax ?? 7 * dayMs;
  const bytesMax = options.bytesMax ?? 256 * 1024 * 1024;
  const startMs = clock.monotonicMs();
  const heardMs = new Map<string, number>();
  let hubHeardMs: number = startMs;
  const isHere = (sinceMs: number) => clock.monotonicMs() - sinceMs < awayMsMax;

  const acked = async (): Promise<Vector> => {
    const mine = await store.vector();
    const others: Vector[] = [];
    const vectors = peers.vectorsByNode();
    for (const node of nodes()) {
      if (node === options.node) continue;
      const had = heardMs.get(node);
      // A node that nothing was heard of is waited for from when it was first seen.
      if (had === undefined) heardMs.set(node, clock.monotonicMs());
      if (isHere(had ?? clock.monotonicMs())) others.push(vectors.get(node) ?? {});
    }
    if (hub?.isFed && deps.hasHub?.() !== false && isHere(hubHeardMs)) others.push(hub.vector());
    return Object.fromEntries(
      Object.entries(mine).map(([origin, top]) => [
        origin,
        Math.min(top, ...others.map((vector) => vector[origin] ?? 0)),
      ]),
    );
  };
  const tick = async () => {
    if (!nodes().includes(options.node)) return;
    const limits = { acked: await acked(), bytesMax, rowsMax };
    let forced = 0;
    for (let isMore = true; isMore;) {
      const gone = await store.truncate(limits);
      forced += gone.forced;
      isMore = gone.more;
    }
    if (forced > 0)
      log.info("the log of documents was too large: operations went that not everybody has", {
        operations: forced,
        bytesMax,
      });
  };
  const ticks = every(clock, options.periodMs ?? 30_000, tick, (error) =>
    log.warn("the log of documents was not truncated; it is tried again", { error }),
  );
  const unsubscribes = [
    peers.on("vectors", ({ node }) => void heardMs.set(node, clock.monotonicMs())),
    hub?.on("vector", () => {
      hubHeardMs = clock.monotonicMs();
    }),
  ];
  return {
    stop() {
      ticks.cancel();
      for (const unsubscribe of unsubscribes) unsubscribe?.();
    },
  };
}
