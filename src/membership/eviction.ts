/**
 * Rule E: may this server treat a silent node as gone and let its pods be started elsewhere? Pure.
 * The observer may be the one that is cut off or deaf, so silence alone never suffices.
 *
 * A *sole* server decides alone: it needs the larger half of the cell with it, or a path that does not
 * share the broken wire. A server whose ledger is *shared* cannot write while it is cut off, so the
 * quorum answers that question; what remains is that it may be deaf. So the other servers are asked:
 * more than half of them must have missed the node, or all that are there.
 *
 * "With it" means heard just now. When the observer's own wire breaks all others fall silent at once, but
 * their last beats were sent at different moments: for up to a beat's period the first is condemned while
 * the rest still count as alive, and an observer that took their word would evict onto them. The same
 * holds for the quorum: a write sent into a broken wire is carried out when it heals. And when the wire
 * heals, the quorum may answer before the first beat is there: it must have answered for a while.
 */
import type { NodeVerdict } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { LedgerSituation } from "./ports.ts";

export type EvictionOptions = {
  /** `eager`: in a cell of two, silence of the other is enough; a person accepted two running copies. */
  readonly evict: "careful" | "eager";
  /** Who was heard within this time is with the observer: three beats, of which two may be lost. */
  readonly heardFreshMs: number;
};

export const evictionDefaults: EvictionOptions = { evict: "careful", heardFreshMs: 750 };

/** With `againMs` nothing is known yet: ask again then. */
export type EvictionDecision =
  | { readonly allowed: true; readonly because: string }
  | { readonly allowed: false; readonly because: string; readonly againMs?: number };

export type EvictionView = {
  /** Of every node but the observer. */
  readonly verdicts: ReadonlyMap<string, NodeVerdict>;
  /** Since the observer itself last heard each node, in ms; absent: never. */
  readonly heardAgoMs: ReadonlyMap<string, number>;
  readonly ledger: LedgerSituation;
  /** For how long the ledger's quorum has answered without a gap. */
  readonly quorumForMs: number;
  readonly nowMs: MonotonicMs;
};

type Unreachable = Extract<NodeVerdict, { state: "unreachable" }>;
type SharedLedger = Extract<LedgerSituation, { state: "shared" }>;
type Case = EvictionView & {
  readonly node: string;
  readonly verdict: Unreachable;
  readonly options: EvictionOptions;
};

const undecidedMs = 100;

/** `node` must be `unreachable`. `because` is a sentence for a condition or an event. */
export function mayEvict(
  node: string,
  view: EvictionView,
  options: EvictionOptions,
): EvictionDecision {
  const verdict = view.verdicts.get(node);
  if (verdict?.state !== "unreachable") {
    return {
      allowed: false,
      because: `${node} is not unreachable: ${verdict?.state ?? "not a known node"}`,
    };
  }
  const one = { ...view, node, verdict, options };
  return view.ledger.state === "sole" ? decideAlone(one) : decideWithOthers(one, view.ledger);
}

function decideAlone(one: Case): EvictionDecision {
  const { node, verdicts, options } = one;
  const cellSize = verdicts.size + 1;
  const reached = [...verdicts].filter(([, other]) => isReached(other)).map(([name]) => name);
  const heard = reached.filter((name) => isHeard(name, one));
  if ((1 + heard.length) * 2 > cellSize) {
    return {
      allowed: true,
      because: `this server reaches ${1 + heard.length} of ${cellSize} nodes`,
    };
  }
  if (one.verdict.hub === "misses") return hubMisses(node);
  if (cellSize === 2 && options.evict === "eager") {
    return { allowed: true, because: "a cell of two with evict: eager" };
  }
  if ((1 + reached.length) * 2 > cellSize) {
    return waitFor(reached.filter((name) => !heard.includes(name)));
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

function decideWithOthers(one: Case, ledger: SharedLedger): EvictionDecision {
  const { node, verdict, verdicts, quorumForMs, options } = one;
  if (ledger.quorum === "lost") {
    return { allowed: false, because: "the ledger's quorum is lost: nothing can be written" };
  }
  const voters = ledger.members.filter(({ votes }) => votes);
  const others = voters.map(({ name }) => name).filter((name) => verdicts.has(name));
  const heard = others.filter((name) => isFresh(name, one));
  const asked = heard.filter((name) => verdict.witnesses.includes(name));
  const servers = 1 + others.length;
  // A machine that is gone has no ears, and neither has one whose keeper says that its agent is down.
  const unasked = others.filter((name) => !asked.includes(name) && !isDeafForSure(name, one));

  const isConnected =
    (1 + heard.length) * 2 > voters.length ||
    (isProved(ledger, one) && quorumForMs >= options.heardFreshMs);
  const areAsked = (1 + asked.length) * 2 > servers || unasked.length === 0;
  if (isConnected && areAsked) {
    const who =
      asked.length === 0
        ? "no other server is there to ask"
        : `${1 + asked.length} of ${servers} servers miss it`;
    return { allowed: true, because: `${who}, and the ledger's quorum is held` };
  }
  if (verdict.hub === "misses" && isConnected) return hubMisses(node);
  if (!isConnected) {
    return {
      allowed: false,
      because: "this server waits for a sign of the ledger's quorum: it may be cut off",
      againMs: undecidedMs,
    };
  }
  // Silence shorter than a verdict takes: they will be heard again, or found silent.
  const late = unasked.filter((name) => verdicts.get(name)?.state === "alive");
  if ((1 + asked.length + late.length) * 2 > servers || late.length === unasked.length)
    return waitFor(late);
  return {
    allowed: false,
    because: `this server does not hear ${unasked.join(", ")}, which may hear ${node}: it may be this server that is deaf`,
  };
}

const hubMisses = (node: string): EvictionDecision => ({
  allowed: true,
  because: `the hub reaches this server and does not reach ${node}`,
});

const waitFor = (silent: readonly string[]): EvictionDecision => ({
  allowed: false,
  because: `this server waits for a sign of ${silent.join(", ")}: it may be the one that is cut off`,
  againMs: undecidedMs,
});

/** Directly, or through a peer that hears it. */
function isReached(verdict: NodeVerdict): boolean {
  return (
    verdict.state === "alive" || verdict.state === "agent-down" || verdict.state === "link-down"
  );
}

/** Just now, itself or a peer that hears it. */
function isHeard(name: string, one: Case): boolean {
  const verdict = one.verdicts.get(name);
  return verdict?.state === "link-down"
    ? verdict.heardBy.some((peer) => isFresh(peer, one))
    : isFresh(name, one);
}

function isFresh(name: string, { heardAgoMs, options }: Case): boolean {
  return (heardAgoMs.get(name) ?? Infinity) < options.heardFreshMs;
}

/** A quorum answered a question that was sent just now. */
export function isProved(
  ledger: LedgerSituation,
  { nowMs, options }: { readonly nowMs: MonotonicMs; readonly options: EvictionOptions },
): boolean {
  return (
    ledger.state === "shared" &&
    ledger.provedMs !== undefined &&
    nowMs - ledger.provedMs < options.heardFreshMs
  );
}

function isDeafForSure(name: string, one: Case): boolean {
  const verdict = one.verdicts.get(name);
  return (
    verdict?.state === "unreachable" || (verdict?.state === "agent-down" && isFresh(name, one))
  );
}
