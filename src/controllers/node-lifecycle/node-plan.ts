/** From a verdict to a node's conditions and taints. Pure. */
import {
  notReadyTaint,
  sameValue,
  tellEars,
  tellUnreachable,
  unreachableTaint,
  withCondition,
  type Condition,
  type Node,
  type NodeVerdict,
  type Taint,
} from "../../api/index.ts";
import { conditionOf, timeText } from "../objects.ts";
import type { MayEvict, Tolerance } from "../ports.ts";
import { tellSeconds } from "./seconds.ts";
import type { LifecycleOptions } from "./plan.ts";

export type NodePlan = {
  /** Undefined: they stand already. */
  readonly conditions: Condition[] | undefined;
  readonly taints: Taint[] | undefined;
  readonly againMs: number | undefined;
};

export type NodeView = {
  readonly node: Node;
  /** Undefined: membership does not know the node (yet). */
  readonly verdict: NodeVerdict | undefined;
  /** Rule E; asked of silent nodes only. */
  readonly mayEvict?: MayEvict | undefined;
  readonly tolerance?: Tolerance | undefined;
  readonly nowMs: number;
};

/** On nodes whose pods are held because this server may itself be cut off. */
export const evictionsHeldCondition = "skerry.dev/EvictionsHeld";
/** On nodes that come and go: why their silence is tolerated longer than others'. */
export const flappingCondition = "skerry.dev/Flapping";
/** A node that flaps no more says so this soon after its ten minutes. */
const flappingAgainMs = 60_000;

export function planNode(view: NodeView, options: LifecycleOptions): NodePlan {
  const { node, verdict, nowMs } = view;
  const before = node.status?.conditions;
  const said = sayReady(node, verdict, options);
  const wishes = [said && { type: "Ready", ...said }, sayHeld(view), sayFlapping(view)];
  let conditions = before;
  for (const wish of wishes) {
    const current = wish && conditionOf(conditions, wish.type);
    if (!wish || (current?.status === wish.status && current.reason === wish.reason)) continue;
    conditions = withCondition(conditions, { ...wish, lastTransitionTime: timeText(nowMs) });
  }
  const changed = conditions === before ? undefined : [...(conditions ?? [])];
  const flapsMs = isFlapping(view.tolerance) ? flappingAgainMs : Infinity;
  const graceMs =
    !said && verdict?.state === "agent-down" ? options.agentGraceMs - verdict.forMs : Infinity;
  const soonestMs = Math.min(flapsMs, graceMs);
  const againMs = Number.isFinite(soonestMs) ? soonestMs : undefined;
  if (!said) return { conditions: changed, taints: undefined, againMs };
  const lastTransitionTime = timeText(nowMs);

  const taintsBefore = node.spec?.taints ?? [];
  const ours = [unreachableTaint, notReadyTaint];
  const wanted = taintFor(said.status).map((taint) => ({
    ...taint,
    timeAdded:
      taintsBefore.find(({ key, effect }) => key === taint.key && effect === taint.effect)
        ?.timeAdded ?? lastTransitionTime,
  }));
  const taints = [...taintsBefore.filter(({ key }) => !ours.includes(key)), ...wanted];
  return {
    conditions: changed,
    taints: sameValue(taints, taintsBefore) ? undefined : taints,
    againMs,
  };
}

type Wish = Pick<Condition, "type" | "status" | "reason" | "message">;

/** Absent until it is needed once. */
function sayHeld({ node, verdict, mayEvict }: NodeView): Wish | undefined {
  const type = evictionsHeldCondition;
  if (mayEvict?.againMs !== undefined) return undefined;
  if (verdict?.state === "unreachable" && mayEvict && !mayEvict.allowed)
    return { type, status: "True", reason: "MayBeCutOff", message: mayEvict.because };
  if (!conditionOf(node.status?.conditions, type)) return undefined;
  const message = mayEvict?.allowed ? mayEvict.because : "the node is not silent";
  return { type, status: "False", reason: "NotHeld", message };
}

/** The reason holds the count: another flap is another word, the same one is none. */
function sayFlapping({ node, tolerance }: NodeView): Wish | undefined {
  const type = flappingCondition;
  if (tolerance && isFlapping(tolerance)) {
    return {
      type,
      status: "True",
      reason: `Flapped${tolerance.flaps}Times`,
      message: `came back from silence ${tolerance.flaps} times within ten minutes: silent for ${tellSeconds(tolerance.toleratedMs)} instead of ${tellSeconds(tolerance.usualMs)} before its pods are replaced`,
    };
  }
  if (!tolerance || !conditionOf(node.status?.conditions, type)) return undefined;
  return { type, status: "False", reason: "Steady", message: "no flaps within ten minutes" };
}

const isFlapping = (tolerance: Tolerance | undefined) =>
  tolerance !== undefined && tolerance.toleratedMs > tolerance.usualMs;

type Ready = Pick<Condition, "status" | "reason" | "message">;

/** Undefined: nothing is known that would change what stands. */
function sayReady(
  node: Node,
  verdict: NodeVerdict | undefined,
  options: LifecycleOptions,
): Ready | undefined {
  const stands = conditionOf(node.status?.conditions, "Ready") !== undefined;
  switch (verdict?.state) {
    case "alive":
      return { status: "True", reason: "AgentReady", message: "the node's agent answers" };
    case "link-down":
      return {
        status: "True",
        reason: "LinkDown",
        message: `the server does not hear the node, but ${tellEars(verdict.heardBy)}: the link between them is broken`,
      };
    case "agent-down":
      if (verdict.forMs < options.agentGraceMs) return undefined;
      return {
        status: "False",
        reason: "AgentDown",
        message:
          verdict.knownBy === "ledger"
            ? "the machine is alive (its ledger member answers), but neither its agent nor its keeper is heard"
            : "the machine is alive and its pods run on, but its agent does not",
      };
    case "unreachable":
      return {
        status: "Unknown",
        reason: "NodeUnreachable",
        message: `nobody has heard the node for ${tellSeconds(verdict.forMs)}${verdict.witnesses.length > 0 ? `; asked: ${verdict.witnesses.join(", ")}` : ""}; ${tellUnreachable(verdict)}`,
      };
    case "unknown":
    case undefined:
      return stands
        ? undefined
        : { status: "Unknown", reason: "NotHeardYet", message: "the node was not heard of yet" };
    default:
      return verdict satisfies never;
  }
}

function taintFor(ready: Ready["status"]): Taint[] {
  if (ready === "True") return [];
  const key = ready === "False" ? notReadyTaint : unreachableTaint;
  return [
    { key, effect: "NoSchedule" },
    { key, effect: "NoExecute" },
  ];
}
