/**
 * Rule E: may a server that decides alone treat a silent node as gone and start its pods elsewhere?
 * Pure. The observer may be the one that is cut off, so silence alone never suffices: it needs the
 * larger half of the cell with it, or a path that does not share the broken wire.
 */
import type { NodeVerdict } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { HubEvidence } from "./evidence.ts";

export type EvictionOptions = {
  /** `eager`: in a cell of two, silence of the other is enough; a person accepted two running copies. */
  readonly evict: "careful" | "eager";
  /** The hub's word counts this long. */
  readonly hubFreshMs: number;
};

export const evictionDefaults: EvictionOptions = { evict: "careful", hubFreshMs: 15_000 };

export type EvictionDecision =
  | { readonly allowed: true; readonly because: string }
  | { readonly allowed: false; readonly because: string };

/**
 * `node` must be `unreachable`; `verdicts` are those of every node but the observer. `because` is a
 * sentence for a condition or an event.
 */
export function mayEvict(
  node: string,
  verdicts: ReadonlyMap<string, NodeVerdict>,
  hub: HubEvidence | undefined,
  nowMs: MonotonicMs,
  options: EvictionOptions,
): EvictionDecision {
  const verdict = verdicts.get(node);
  if (verdict?.state !== "unreachable") {
    return {
      allowed: false,
      because: `${node} is not unreachable: ${verdict?.state ?? "not a known node"}`,
    };
  }
  const cellSize = verdicts.size + 1;
  const reached = 1 + [...verdicts.values()].filter(isReached).length;
  if (reached * 2 > cellSize) {
    return { allowed: true, because: `this server reaches ${reached} of ${cellSize} nodes` };
  }
  if (hub && hubSaysGone(node, verdict.forMs, hub, nowMs, options)) {
    return { allowed: true, because: `the hub reaches this server and does not reach ${node}` };
  }
  if (cellSize === 2 && options.evict === "eager") {
    return { allowed: true, because: "a cell of two with evict: eager" };
  }
  const wayOut =
    cellSize === 2
      ? `two nodes cannot tell which of them is cut off; delete node ${node} if it is gone for good, or set evict: eager`
      : "it may be this server that is cut off";
  return {
    allowed: false,
    because: `this server reaches ${reached} of ${cellSize} nodes and nobody else vouches for it: ${wayOut}`,
  };
}

/** Directly, or through a peer that hears it. */
function isReached(verdict: NodeVerdict): boolean {
  return (
    verdict.state === "alive" || verdict.state === "agent-down" || verdict.state === "link-down"
  );
}

/** The hub spoke after the node fell silent, lately, and has not heard the node since it fell silent. */
function hubSaysGone(
  node: string,
  silentForMs: number,
  hub: HubEvidence,
  nowMs: MonotonicMs,
  options: EvictionOptions,
): boolean {
  const contactAgeMs = nowMs - hub.contactMs;
  if (contactAgeMs > options.hubFreshMs || contactAgeMs >= silentForMs) return false;
  const heardMs = hub.heardByHub.get(node);
  return heardMs === undefined || nowMs - heardMs >= silentForMs;
}
