/**
 * Whose logs a node sends to the hub: its own, and those of other nodes that the hub has waited for
 * without progress, for then their node is dead or cut off from the hub. Only what the hub says on one
 * connection counts: while nobody reaches it nobody's log moves, and after an outage all nodes would
 * send everything. Pure but for the clock.
 */
import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import type { Vector } from "../streams/store.ts";

export interface ForeignLag {
  /** The hub was reached anew: what it waited for before, it may get from its own node now. */
  connected(): void;
  /** The hub has just said what it has. */
  heard(): void;
  /** Origins to send now: own ones first, then by name. */
  wanted(mine: Vector, hub: Vector): readonly string[];
  /** Whether the hub lacks something of another node, so that its vector is worth asking for. */
  lags(mine: Vector, hub: Vector): boolean;
}

type Waiting = { readonly hubTop: number; readonly untilMs: number };

export function createForeignLag(
  deps: { clock: Clock; random: Random },
  options: { node: string; foreignLagMs: number; isShared?: (origin: string) => boolean },
): ForeignLag {
  const { clock, random } = deps;
  /** When the hub last said what it has. */
  let heardMs = 0;
  const waitingByOrigin = new Map<string, Waiting>();
  /** Taken on: sent until the hub has all of it, however it moves meanwhile. */
  const relayed = new Set<string>();
  const isOwn = (origin: string) =>
    origin.startsWith(`${options.node}.`) || options.isShared?.(origin) === true;
  const behind = (mine: Vector, hub: Vector) =>
    Object.keys(mine).filter((origin) => (mine[origin] ?? 0) > (hub[origin] ?? 0));

  const isDue = (origin: string, hubTop: number): boolean => {
    if (relayed.has(origin)) return true;
    const waiting = waitingByOrigin.get(origin);
    if (!waiting || waiting.hubTop !== hubTop) {
      // The survivors of a node see the same lag: chance keeps them from all sending the same.
      const waitMs = options.foreignLagMs * (1 + random.float() / 2);
      waitingByOrigin.set(origin, { hubTop, untilMs: clock.monotonicMs() + waitMs });
      return false;
    }
    if (heardMs < waiting.untilMs) return false;
    relayed.add(origin);
    return true;
  };

  return {
    connected: () => waitingByOrigin.clear(),
    heard() {
      heardMs = clock.monotonicMs();
    },
    wanted(mine, hub) {
      const lagging = behind(mine, hub).sort();
      for (const known of [waitingByOrigin, relayed])
        for (const origin of known.keys()) if (!lagging.includes(origin)) known.delete(origin);
      const foreign = lagging.filter((origin) => !isOwn(origin) && isDue(origin, hub[origin] ?? 0));
      return [...lagging.filter(isOwn), ...foreign];
    },
    lags: (mine, hub) => behind(mine, hub).some((origin) => !isOwn(origin)),
  };
}
