/**
 * Rule E: may a server that decides alone treat a silent node as gone and start its pods elsewhere?
 * Pure. The observer may be the one that is cut off, so silence alone never suffices: it needs the
 * larger half of the cell with it, or a path that does not share the broken wire.
 *
 * "With it" means heard just now. When the observer's own wire breaks all others fall silent at once, but
 * their last beats were sent at different moments: for up to a beat's period the first is condemned while
 * the rest still count as alive, and an observer that took their word would evict onto them.
 */
import type { NodeVerdict } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { HubEvidence } from "./evidence.ts";

export type EvictionOptions = {
  /** `eager`: in a cell of two, silence of the other is enough; a person accepted two running copies. */
  readonly evict: "careful" | "eager";
  /** The hub's word counts this long. */
  readonly hubFreshMs: number;
  /** Who was heard within this time is with the observer: three beats, of which two may be lost. */
  readonly heardFreshMs: number;
};

export const evictionDefaults: EvictionOptions = {
  evict: "careful",
  hubFreshMs: 15_000,
  heardFreshMs: 750,
};

/** With `againMs` nothing is known yet: ask again then. */
export type EvictionDecision =
  | { readonly allowed: true; readonly because: string }
  | { readonly allowed: false; readonly because: string; readonly againMs?: number };

export type EvictionView = {
  /** Of every node but the observer. */
  readonly verdicts: ReadonlyMap<string, NodeVerdict>;
  /** Since the observer itself last heard each node, in ms; absent: never. */
  readonly heardAgoMs: ReadonlyMap<string, number>;
  readonly hub: HubEvidence | undefined;
  readonly nowMs: MonotonicMs;
};

const undecidedMs = 100;

/** `node` must be `unreachable`. `because` is a sentence for a condition or an event. */
export function mayEvict(
  node: string,
  { verdicts, heardAgoMs, hub, nowMs }: EvictionView,
  options: EvictionOptions,
): EvictionDecision {
  const verdict = verdicts.get(node);
  if (verdict?.state !== "unreachable") {
    return {
      allowed: false,
      because: `${node} is not unreachable: ${verdict?.state ?? "not a known node"}`,
    };
  }
  const isFresh = (name: string) => (heardAgoMs.get(name) ?? Infinity) < options.heardFreshMs;
  const cellSize = verdicts.size + 1;
  const reached = [...verdicts].filter(([, one]) => isReached(one)).map(([name]) => name);
  const heard = reached.filter((name) => isHeard(name, verdicts, isFresh));
  if ((1 + heard.length) * 2 > cellSize) {
    return {
      allowed: true,
      because: `this server reaches ${1 + heard.length} of ${cellSize} nodes`,
    };
  }
  if (hub && hubSaysGone(node, verdict.forMs, hub, nowMs, options)) {
    return { allowed: true, because: `the hub reaches this server and does not reach ${node}` };
  }
  if (cellSize === 2 && options.evict === "eager") {
    return { allowed: true, because: "a cell of two with evict: eager" };
  }
  if ((1 + reached.length) * 2 > cellSize) {
    const silent = reached.filter((name) => !heard.includes(name));
    return {
      allowed: false,
      because: `this server waits for a sign of ${silent.join(", ")}: it may be the one that is cut off`,
      againMs: undecidedMs,
    };
  }
  const wayOut =
    cellSize === 2
      ? `two nodes cannot tell which of them is cut off; delete node ${node} if it is gone for good, or set evict: eager`
      : "it may be this server that is cut off";
  return {
    allowed: false,
    because: `this server reaches ${1 + reached.length} of ${cellSize} nodes and nobody else vouches for it: ${wayOut}`,
  };
}

/** Directly, or through a peer that hears it. */
function isReached(verdict: NodeVerdict): boolean {
  return (
    verdict.state === "alive" || verdict.state === "agent-down" || verdict.state === "link-down"
  );
}

/** Just now, itself or a peer that hears it. */
function isHeard(
  name: string,
  verdicts: ReadonlyMap<string, NodeVerdict>,
  isFresh: (name: string) => boolean,
): boolean {
  const verdict = verdicts.get(name);
  return verdict?.state === "link-down" ? verdict.heardBy.some(isFresh) : isFresh(name);
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
