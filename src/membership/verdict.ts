/**
 * Evidence and the time to one verdict per node. Pure. A node is condemned only by silence towards
 * everybody the observer can still ask: one deaf or asymmetric link is told as that link's fault.
 */
import { ledgerEar, type NodeVerdict } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Evidence, HubEvidence, NodeEvidence, OwnReception } from "./evidence.ts";

export type VerdictOptions = {
  /** Silence to the observer and to every reachable peer after which a node is unreachable. */
  readonly silenceMs: number;
  /** A node never heard of stays `unknown` this long after it was first expected. */
  readonly unknownMs: number;
  /** When a peer's last mark is younger than the observer's own by less than this, both saw the same end. */
  readonly sameSilenceMs: number;
  /** Flaps older than this are forgotten. */
  readonly flapWindowMs: number;
  /** From this many flaps in the window on, tolerance doubles with each. */
  readonly flapsTolerated: number;
  readonly toleranceMsMax: number;
  /** The hub's word counts this long. */
  readonly hubFreshMs: number;
  /** Nodes tell the hub every second how they are: whom it has not heard for this long, it misses. */
  readonly hubMissMs: number;
};

export const verdictDefaults: VerdictOptions = {
  silenceMs: 1500,
  unknownMs: 10_000,
  sameSilenceMs: 750,
  flapWindowMs: 600_000,
  flapsTolerated: 2,
  toleranceMsMax: 60_000,
  hubFreshMs: 15_000,
  hubMissMs: 3000,
};

/** How long a node may be silent before it counts as unreachable, and why that is not the usual time. */
export type Tolerance = {
  /** Times it came back from having been unreachable, within the window. */
  readonly flaps: number;
  readonly toleratedMs: number;
  readonly usualMs: number;
};

/** Grows when the node flapped lately (rule E). */
export function toleranceOf(
  node: Pick<NodeEvidence, "flapsMs">,
  nowMs: MonotonicMs,
  options: VerdictOptions,
): Tolerance {
  const flaps = node.flapsMs.filter((at) => nowMs - at < options.flapWindowMs).length;
  const doublings = Math.max(0, flaps - options.flapsTolerated + 1);
  const usualMs = options.silenceMs;
  return {
    flaps,
    toleratedMs: Math.min(options.toleranceMsMax, usualMs * 2 ** doublings),
    usualMs,
  };
}

/**
 * Until the verdict on a node that is heard now may turn, if nothing more is heard of it; at most
 * `withinMs`. So that a death is found when its time is up, and not at the next round.
 */
export function dueInMs(
  evidence: Evidence,
  nowMs: MonotonicMs,
  withinMs: number,
  options: VerdictOptions,
): number {
  let dueMs = withinMs;
  for (const node of evidence.nodes.values()) {
    if (!node.own) continue;
    const lastMs = Math.max(
      node.own.heardMs,
      node.silenceFromMs,
      node.ledgerMs ?? -Infinity,
      ...node.heardByPeer.values(),
    );
    const leftMs = lastMs + toleranceOf(node, nowMs, options).toleratedMs - nowMs;
    if (leftMs > 0) dueMs = Math.min(dueMs, leftMs);
  }
  return dueMs;
}

/** One verdict for each known node but the observer itself. */
export function judge(
  evidence: Evidence,
  nowMs: MonotonicMs,
  options: VerdictOptions,
): Map<string, NodeVerdict> {
  const ears = freshEars(evidence, nowMs, options);
  return new Map(
    [...evidence.nodes].map(([name, node]) => [
      name,
      judgeOne(name, node, { ears, hub: evidence.hub }, nowMs, options),
    ]),
  );
}

function judgeOne(
  name: string,
  node: NodeEvidence,
  { ears, hub }: { ears: ReadonlySet<string>; hub: HubEvidence | undefined },
  nowMs: MonotonicMs,
  options: VerdictOptions,
): NodeVerdict {
  const everHeard = node.own !== undefined || node.heardByPeer.size > 0;
  const tolerated = everHeard
    ? toleranceOf(node, nowMs, options).toleratedMs
    : Math.max(options.unknownMs, options.silenceMs);

  const ownMs = Math.max(node.own?.heardMs ?? -Infinity, node.silenceFromMs);
  const ownSilenceMs = nowMs - ownMs;
  if (ownSilenceMs < tolerated) return node.own ? heardOf(node.own, nowMs) : { state: "unknown" };

  const heardBy: string[] = [];
  let lastMs = ownMs;
  for (const [peer, heardMs] of node.heardByPeer) {
    if (nowMs - heardMs < tolerated) heardBy.push(peer);
    lastMs = Math.max(lastMs, heardMs);
  }
  const answers = node.ledgerMs !== undefined && nowMs - node.ledgerMs < tolerated;
  lastMs = Math.max(lastMs, node.ledgerMs ?? -Infinity);
  const witnesses = [...ears].filter((peer) => peer !== name);
  if (heardBy.length === 0 && !answers) {
    const forMs = nowMs - lastMs;
    const word = hubWordOn(name, forMs, hub, nowMs, options);
    return { state: "unreachable", forMs, witnesses, ...(word === undefined ? {} : { hub: word }) };
  }
  // A dying node is last heard by one of us a moment after the other: not a broken link, wait.
  if (node.own && lastMs - ownMs < options.sameSilenceMs) return heardOf(node.own, nowMs);
  if (heardBy.length > 0) return { state: "link-down", forMs: ownSilenceMs, heardBy };
  // The machine is there. Where somebody else misses its beats too, its keeper and agent are not;
  // where nobody else listens, it may as well be the observer that is deaf.
  return witnesses.length > 0
    ? { state: "agent-down", forMs: ownSilenceMs, knownBy: "ledger" }
    : { state: "link-down", forMs: ownSilenceMs, heardBy: [ledgerEar] };
}

/**
 * What the hub says of a node that has been silent for `silentForMs`: undefined when it spoke before
 * that, not lately, or may have missed the node because it was itself away. What it heard just after
 * the last beat was the same end: that is no life.
 */
export function hubWordOn(
  node: string,
  silentForMs: number,
  hub: HubEvidence | undefined,
  nowMs: MonotonicMs,
  options: VerdictOptions,
): "hears" | "misses" | undefined {
  if (!hub) return undefined;
  const contactAgeMs = nowMs - hub.contactMs;
  if (contactAgeMs > options.hubFreshMs || contactAgeMs >= silentForMs) return undefined;
  const heardMs = hub.heardByHub.get(node);
  if (heardMs === undefined || hub.contactMs - heardMs >= options.hubMissMs)
    return nowMs - hub.listeningMs >= silentForMs ? "misses" : undefined;
  const isLater = heardMs - (nowMs - silentForMs) >= options.sameSilenceMs;
  return isLater ? "hears" : undefined;
}

function heardOf({ agentDownSinceMs }: OwnReception, nowMs: MonotonicMs): NodeVerdict {
  return agentDownSinceMs === undefined
    ? { state: "alive" }
    : { state: "agent-down", forMs: nowMs - agentDownSinceMs };
}

/**
 * Peers whose silence about somebody means something: reachable, their agent up (a keeper alone does
 * not listen), and themselves hearing at least one node.
 */
function freshEars(evidence: Evidence, nowMs: MonotonicMs, options: VerdictOptions): Set<string> {
  const hearing = new Set<string>();
  const receptions = [...evidence.nodes.values()].map((node) => node.heardByPeer);
  for (const marks of [evidence.selfHeardByPeer, ...receptions]) {
    for (const [peer, heardMs] of marks) {
      if (nowMs - heardMs < options.silenceMs) hearing.add(peer);
    }
  }
  const ears = new Set<string>();
  for (const [name, { own }] of evidence.nodes) {
    if (own?.agent !== "up" || nowMs - own.heardMs >= options.silenceMs) continue;
    if (hearing.has(name)) ears.add(name);
  }
  return ears;
}
