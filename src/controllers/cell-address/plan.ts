/**
 * Who holds a cell address. Pure. It stays where it is as long as it can be served from there; it goes
 * when its holder is gone, cannot serve, or is the one machine that nothing could move it away from.
 * A holder that cannot be asked is overruled only by rule E, or after its lease has surely run out.
 */
import {
  whyNotHold,
  withCondition,
  type CellAddress,
  type Condition,
  type Node,
  type NodeVerdict,
} from "../../api/index.ts";
import { conditionOf, isTerminating, timeText } from "../objects.ts";
import type { MayEvict } from "../ports.ts";

export type CellAddressOptions = {
  /** An agent may restart this long before the address goes elsewhere. */
  readonly agentGraceMs: number;
  /** After this long a holder that renewed nothing has given the address up by itself. */
  readonly leaseOverMs: number;
  /** A better place is taken only after it has been one for this long. */
  readonly settleMs: number;
};

/** `leaseOverMs` is above the holders' own time (`cellAddressLeaseMs`) by what a kernel may be late. */
export const cellAddressDefaults: CellAddressOptions = {
  agentGraceMs: 2000,
  leaseOverMs: 9000,
  settleMs: 10_000,
};

export const heldCondition = "Held";

export type CellAddressView = {
  readonly address: CellAddress;
  readonly nodes: readonly Node[];
  /** Of every node but this one, which is alive. */
  readonly verdicts: ReadonlyMap<string, NodeVerdict>;
  /** This node, which leads. */
  readonly self: string;
  readonly servers: number;
  readonly mayEvict: (node: string) => MayEvict;
  /** By how much longer than usual a node may be silent before it counts as lost: 1, or it came and went lately. */
  readonly patience: (node: string) => number;
  /** How long `status.leaving` has stood there, as far as this leader saw. */
  readonly leavingForMs: number;
  /** How long a worker could have held what the only server holds. */
  readonly betterForMs: number;
};

export type CellAddressStep =
  | { readonly do: "nothing"; readonly againMs?: number; readonly better?: boolean }
  | { readonly do: "give"; readonly to: string; readonly because: string }
  /** Nobody, until the lease of the one who held it is over. */
  | { readonly do: "withdraw"; readonly because: string }
  /** Nobody could hold it. */
  | { readonly do: "none"; readonly because: string };

const watchMs = 500;

export function planCellAddress(
  view: CellAddressView,
  options: CellAddressOptions,
): CellAddressStep {
  const { address } = view;
  const { holder, leaving } = address.status ?? {};
  const fit = inOrder(view);
  const others = fit.filter((name) => name !== holder);
  const [best] = others;

  if (holder === undefined) {
    if (leaving === undefined) return firstHolder(view, best);
    // It answers again: what it may hold still is the best of places.
    if (fit.includes(leaving)) return { do: "give", to: leaving, because: `${leaving} is back` };
    const waitMs = isReached(view, leaving) ? 0 : options.leaseOverMs - view.leavingForMs;
    if (waitMs > 0) return { do: "nothing", againMs: waitMs };
    return best === undefined
      ? noneFit(view)
      : { do: "give", to: best, because: `${leaving} has not been heard since; its lease is over` };
  }

  const node = view.nodes.find(({ metadata }) => metadata.name === holder);
  if (!node || isTerminating(node))
    return moveTo(best, view, `${holder} is no node of the cell any more`);
  const verdict = holder === view.self ? alive : view.verdicts.get(holder);
  switch (verdict?.state) {
    case "alive":
    case "link-down": {
      const problem = whyNotHold(node, address.metadata.name);
      if (problem !== undefined)
        return best === undefined
          ? { do: "nothing" }
          : { do: "give", to: best, because: `${holder} cannot hold it: ${problem}` };
      return improve(view, holder, others, options);
    }
    case "agent-down": {
      const waitMs = options.agentGraceMs - verdict.forMs;
      if (waitMs > 0) return { do: "nothing", againMs: waitMs };
      const because = `the agent of ${holder} has been down for ${seconds(verdict.forMs)}`;
      return best === undefined
        ? { do: "nothing", againMs: watchMs }
        : { do: "give", to: best, because };
    }
    case "unreachable": {
      if (best === undefined) return { do: "nothing", againMs: watchMs };
      const silence = `${holder} has been silent for ${seconds(verdict.forMs)}`;
      const decision = view.mayEvict(holder);
      if (decision.allowed)
        return { do: "give", to: best, because: `${silence}, and ${decision.because}` };
      if (decision.againMs !== undefined) return { do: "nothing", againMs: decision.againMs };
      return outnumbers(view)
        ? { do: "withdraw", because: `${silence}; ${decision.because}` }
        : { do: "nothing", againMs: watchMs };
    }
    default:
      // Not judged yet: this leader is new.
      return { do: "nothing", againMs: watchMs };
  }
}

const alive: NodeVerdict = { state: "alive" };
const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

/**
 * Those who could hold it, the best first: the same for the same view, whoever leads. From one that came
 * and went lately it would move latest, and it is the likeliest to go again.
 */
function inOrder(view: CellAddressView): string[] {
  const rank = (node: Node) =>
    (node.spec?.unschedulable ? 2 : 0) +
    (avoidsServer(view) && node.metadata.name === view.self ? 1 : 0);
  const compare = (a: Node, b: Node) =>
    rank(a) - rank(b) ||
    view.patience(a.metadata.name) - view.patience(b.metadata.name) ||
    (a.metadata.name < b.metadata.name ? -1 : 1);
  return view.nodes
    .filter(
      (node) =>
        !isTerminating(node) &&
        isFit(view, node.metadata.name) &&
        whyNotHold(node, view.address.metadata.name) === undefined,
    )
    .sort(compare)
    .map(({ metadata }) => metadata.name);
}

/** Alive, its agent as well. */
function isFit({ self, verdicts }: CellAddressView, name: string): boolean {
  const state = name === self ? "alive" : verdicts.get(name)?.state;
  return state === "alive" || state === "link-down";
}

function isReached(view: CellAddressView, name: string): boolean {
  return isFit(view, name) || view.verdicts.get(name)?.state === "agent-down";
}

/** With one server and two more nodes: nobody could move it away from a server that is lost. */
function avoidsServer({ servers, nodes }: CellAddressView): boolean {
  return servers === 1 && nodes.length >= 3;
}

/** As many as all others together, this one counted: those who cannot ask are no majority and give up. */
function outnumbers(view: CellAddressView): boolean {
  const names = view.nodes.map(({ metadata }) => metadata.name);
  return names.filter((name) => isReached(view, name)).length * 2 >= names.length;
}

function improve(
  view: CellAddressView,
  holder: string,
  others: readonly string[],
  { settleMs }: CellAddressOptions,
): CellAddressStep {
  const [best] = others;
  const better =
    avoidsServer(view) && holder === view.self && best !== undefined && best !== view.self;
  if (!better) return { do: "nothing" };
  const waitMs = settleMs - view.betterForMs;
  if (waitMs > 0) return { do: "nothing", againMs: waitMs, better: true };
  return {
    do: "give",
    to: best,
    because: `${holder} is the only server, whose loss nobody could make good`,
  };
}

function firstHolder(view: CellAddressView, best: string | undefined): CellAddressStep {
  return best === undefined ? noneFit(view) : { do: "give", to: best, because: "nobody held it" };
}

function moveTo(best: string | undefined, view: CellAddressView, because: string): CellAddressStep {
  return best === undefined ? noneFit(view) : { do: "give", to: best, because };
}

function noneFit({ nodes, address }: CellAddressView): CellAddressStep {
  const reasons = nodes.map(
    (node) => `${node.metadata.name}: ${whyNotHold(node, address.metadata.name) ?? "not reached"}`,
  );
  return { do: "none", because: `no node can hold it: ${reasons.join("; ") || "there is none"}` };
}

/** The status after a step; undefined when it says so already. */
export function statusAfter(
  { status = {}, metadata }: CellAddress,
  step: CellAddressStep,
  nowMs: number,
): CellAddress["status"] | undefined {
  const { holder, leaving, since, moves = 0, conditions } = status;
  const now = timeText(nowMs);
  const held = (value: "True" | "False", reason: string, message: string) =>
    withCondition(conditions, {
      type: heldCondition,
      status: value,
      reason,
      message,
      lastTransitionTime: now,
      ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    });
  switch (step.do) {
    case "nothing":
      return undefined;
    case "give": {
      // Back to where it may be still is no move.
      const moved = (holder ?? leaving ?? step.to) !== step.to;
      return {
        holder: step.to,
        since: now,
        moves: moved ? moves + 1 : moves,
        conditions: held("True", "Given", `${step.to} holds it: ${step.because}`),
      };
    }
    case "withdraw":
      return {
        moves,
        ...(holder === undefined ? {} : { leaving: holder }),
        ...(since === undefined ? {} : { since }),
        conditions: held("False", "Withdrawn", step.because),
      };
    case "none": {
      const before = conditionOf(conditions, heldCondition);
      if (holder === undefined && before?.reason === "NobodyFit" && before.message === step.because)
        return undefined;
      const last: Condition[] = held("False", "NobodyFit", step.because);
      return { moves, ...(leaving === undefined ? {} : { leaving }), conditions: last };
    }
    default:
      return step satisfies never;
  }
}
