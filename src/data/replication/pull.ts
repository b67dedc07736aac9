/**
 * Fetches pieces of logs that a peer has and this store lacks. A node that pushes its own log is left
 * to do so: its log is pulled only when a whole round brought nothing new. One peer at a time serves
 * an origin.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Link } from "../../transport/index.ts";
import type { ReplicatedStore, Vector } from "./replicated.ts";
import { encodeJson } from "./messages.ts";
import { createSnapshotPuller } from "./snapshot-pull.ts";

export interface Puller {
  /** Whether there was nothing to pull, and nobody is about to. */
  pull(link: Link, vectors: { origin: string; mine: Vector; theirs: Vector }): Promise<boolean>;
}

export function createPuller(
  deps: { store: ReplicatedStore; log: Log },
  options: { methods: string; batchBytesMax: number; timeoutMs: number },
): Puller {
  const { store, log } = deps;
  const { snapshots } = store;
  const whole = snapshots && createSnapshotPuller({ ...deps, snapshots }, options);
  const pulling = new Set<string>();
  /** Of which a peer cannot read on, as was told. */
  const damaged = new Set<string>();
  const busy = new WeakSet<Link>();
  /** How far this store was when the peer was last compared with. */
  const lastTops = new WeakMap<Link, Map<string, number>>();

  /** False when the peer gave nothing although it has more: its log is forgotten there. */
  const pullOrigin = async (link: Link, origin: string, after: number, until: number) => {
    let top = after;
    while (top < until && !link.closed.aborted) {
      const request = { origin, from: top + 1, bytesMax: options.batchBytesMax };
      const bytes = await link.request(`${options.methods}.pull`, encodeJson(request), {
        timeoutMs: options.timeoutMs,
      });
      if (bytes.length === 0) return false;
      const answer = await store.apply(bytes);
      // Not the log that was asked for, or nothing new in it: asking again would go on for ever.
      if (answer.origin !== origin || answer.top <= top) return true;
      top = answer.top;
    }
    damaged.delete(origin);
    return true;
  };
  /** Of a log that the peer cannot read on just now; the others go on, and this one with the next round. */
  const passOver = (link: Link, origin: string) => (error: unknown) => {
    if (!(error instanceof SkerryError) || error.code !== "segment-damaged") throw error;
    if (!damaged.has(origin))
      log.warn("a peer cannot read on in a log", { peer: link.peer.path[1], origin, error });
    damaged.add(origin);
    return true;
  };

  return {
    async pull(link, { origin: own, mine, theirs }) {
      if (busy.has(link)) return false;
      const last = lastTops.get(link);
      const now = new Map<string, number>();
      lastTops.set(link, now);
      busy.add(link);
      const [, peerNode = ""] = link.peer.path;
      let isForgotten = false;
      let hasAll = true;
      try {
        for (const [origin, until] of Object.entries(theirs)) {
          const top = mine[origin] ?? 0;
          now.set(origin, top);
          const moving = origin.startsWith(`${peerNode}.`) && last?.get(origin) !== top;
          if (origin === own || until <= top) continue;
          hasAll = false;
          if (moving || pulling.has(origin)) continue;
          pulling.add(origin);
          try {
            const isThere = await pullOrigin(link, origin, top, until).catch(
              passOver(link, origin),
            );
            if (!isThere) isForgotten = true;
          } finally {
            pulling.delete(origin);
          }
        }
        if (!whole || !snapshots) return hasAll;
        const { isNeeded } = await snapshots.place();
        if (!isForgotten && !isNeeded) return hasAll;
        await whole.pull(link, isNeeded);
        return false;
      } finally {
        busy.delete(link);
      }
    },
  };
}
