/**
 * From a verdict on a node to what becomes of its pods. Pure. Nothing is deleted on a silent node: a pod
 * that is given up there is *displaced*, which lets its owner start another; when the node returns it
 * counts again, and the surplus goes newest first. A pod that runs at most once is *ended* instead, for
 * good, and not before the node's lease proves that it runs no more.
 */
import {
  notReadyTaint,
  onPartitionAnnotation,
  onPartitionOf,
  partitionWaitOf,
  unreachableTaint,
  withCondition,
  type NodeVerdict,
  type Pod,
  type Taint,
} from "../../api/index.ts";
import {
  conditionOf,
  controllerOf,
  displacedCondition,
  hasEnded,
  isDisplaced,
  isTerminating,
  returnedReason,
  timeText,
} from "../objects.ts";
import type { MayEvict } from "../ports.ts";
import { toleratesOne } from "../scheduler/filter.ts";
import type { LeaseView } from "./leases.ts";
import { tellSeconds } from "./seconds.ts";

export type LifecycleOptions = {
  /** An agent may restart this long before its node counts as not ready. */
  readonly agentGraceMs: number;
  /** Nothing is replaced before an agent was down this long. */
  readonly agentDownEvictMs: number;
  /** A pod that is displaced stays so until its node has been back this long: its agent reports first. */
  readonly returnSettleMs: number;
  /** Beyond a terminating pod's own grace, before it is taken off a node that is given up. */
  readonly forceDeleteMs: number;
  /** Lost pods that are not replaced after this long are told as such. */
  readonly replaceLateMs: number;
};

export const lifecycleDefaults: LifecycleOptions = {
  agentGraceMs: 5000,
  agentDownEvictMs: 30_000,
  returnSettleMs: 3000,
  forceDeleteMs: 30_000,
  replaceLateMs: 60_000,
};

export type PodStep =
  | { readonly do: "nothing"; readonly againMs?: number }
  /** Its owner may start another. */
  | { readonly do: "displace"; readonly reason: string; readonly message: string }
  /** It may run on there and must not be started elsewhere; a person is told why. */
  | {
      readonly do: "hold";
      readonly reason: string;
      readonly message: string;
      /** Held for no longer: its lease is over then. */
      readonly againMs?: number;
    }
  /** It ran at most once and runs no more, for as long as the Lease stands at this version. */
  | {
      readonly do: "end";
      readonly reason: string;
      readonly message: string;
      readonly leaseVersion: string | undefined;
    }
  /** Its node is back: it counts again. */
  | { readonly do: "recall" }
  /** It was asked to go, its node cannot confirm, and the node is given up. */
  | { readonly do: "forget"; readonly lease?: { readonly version: string | undefined } };

export type PodView = {
  readonly pod: Pod;
  readonly node: string;
  readonly verdict: NodeVerdict | undefined;
  /** How long the node has been back, where it is. */
  readonly backForMs: number;
  readonly mayEvict: MayEvict;
  readonly lease: LeaseView;
  readonly nowMs: number;
};

export function planPod(view: PodView, options: LifecycleOptions): PodStep {
  const { pod, verdict } = view;
  if (hasEnded(pod)) return { do: "nothing" };
  if (verdict?.state === "alive" || verdict?.state === "link-down") {
    if (!isMarked(pod)) return { do: "nothing" };
    const waitMs = options.returnSettleMs - view.backForMs;
    return waitMs > 0 ? { do: "nothing", againMs: waitMs } : { do: "recall" };
  }
  if (verdict?.state !== "unreachable" && verdict?.state !== "agent-down") return { do: "nothing" };

  const silent = verdict.state === "unreachable";
  const taintKey = silent ? unreachableTaint : notReadyTaint;
  const floorMs = silent ? 0 : options.agentDownEvictMs;
  const toleratedMs = toleratedFor(pod, taintKey);
  const waitMs = Math.max(floorMs, toleratedMs) - verdict.forMs;
  if (waitMs > 0)
    return Number.isFinite(waitMs) ? { do: "nothing", againMs: waitMs } : { do: "nothing" };

  const reason = silent ? "NodeLost" : "AgentDown";
  if (silent && view.mayEvict.againMs !== undefined)
    return { do: "nothing", againMs: view.mayEvict.againMs };
  // An agent that is down was seen to be down: no question of who is cut off.
  if (silent && !view.mayEvict.allowed)
    return { do: "hold", reason, message: `not replaced: ${view.mayEvict.because}` };
  if (onPartitionOf(pod) === "stop") return planSingle(view, reason);
  if (isTerminating(pod)) return silent ? planTerminating(view, options) : { do: "nothing" };
  if (isDisplaced(pod)) return { do: "nothing" };
  if (!controllerOf(pod))
    return {
      do: "hold",
      reason,
      message: `not replaced: nothing owns it, and ${view.node} does not answer`,
    };
  return {
    do: "displace",
    reason,
    message: silent
      ? `${view.node} is unreachable; ${view.mayEvict.because}`
      : `the agent of ${view.node} has been down for ${Math.round(verdict.forMs / 1000)} s`,
  };
}

/** Runs at most once (rule F): nothing elsewhere before its node's lease proves that it runs no more. */
function planSingle({ pod, node, lease }: PodView, reason: string): PodStep {
  const once = `runs at most once (${onPartitionAnnotation}: stop)`;
  if (!lease.isExact) {
    const message = `${once} and may still run on ${node}, whose agent is of a version that does not say for how long: not replaced until that node returns or is deleted`;
    return { do: "hold", reason, message };
  }
  const { ttlMs, graceMs, marginMs, totalMs } = partitionWaitOf(pod);
  const waitMs = totalMs - lease.ageMs;
  if (waitMs > 0) {
    const parts = `${tellSeconds(ttlMs)} of lease, ${tellSeconds(graceMs)} to stop, ${tellSeconds(marginMs)} of margin`;
    const message = `${once} and may still run on ${node}: started elsewhere ${tellSeconds(totalMs)} after that node's lease was last renewed (${parts})`;
    return { do: "hold", reason: "WaitsForLease", message, againMs: waitMs };
  }
  if (isTerminating(pod)) return { do: "forget", lease: { version: lease.version } };
  if (!controllerOf(pod))
    return { do: "hold", reason, message: `not replaced: nothing owns it, and ${node} is silent` };
  const message = `${once}: the lease of ${node} was not renewed for ${tellSeconds(totalMs)}, so it runs there no more`;
  return { do: "end", reason, message, leaseVersion: lease.version };
}

function planTerminating({ pod, nowMs }: PodView, options: LifecycleOptions): PodStep {
  // `deletionTimestamp` is when the grace period ends (Kubernetes API conventions).
  const waitMs = Date.parse(pod.metadata.deletionTimestamp ?? "") + options.forceDeleteMs - nowMs;
  return waitMs > 0 ? { do: "nothing", againMs: waitMs } : { do: "forget" };
}

/** Marked by this controller, so that the mark has to be taken back. */
export function isMarked(pod: Pod): boolean {
  const mark = conditionOf(pod.status?.conditions, displacedCondition);
  return (
    (mark !== undefined && mark.reason !== returnedReason) ||
    pod.status?.reason === "NodeLost" ||
    pod.status?.reason === "AgentDown" ||
    pod.status?.reason === "WaitsForLease"
  );
}

/** 0 without a toleration, infinite with one that names no time. */
export function toleratedFor(pod: Pod, taintKey: string): number {
  const taint: Taint = { key: taintKey, effect: "NoExecute" };
  const matching = (pod.spec.tolerations ?? []).filter((entry) => toleratesOne(entry, taint));
  if (matching.length === 0) return 0;
  return Math.min(
    ...matching.map(({ tolerationSeconds }) =>
      tolerationSeconds === undefined ? Infinity : Math.max(0, tolerationSeconds) * 1000,
    ),
  );
}

/** The pod's status with the mark, or with word of its return; undefined when it stands already. */
export function markedStatus(pod: Pod, step: PodStep, nowMs: number): Pod["status"] | undefined {
  if (step.do === "nothing" || step.do === "forget") return undefined;
  const { reason: _reason, message: _message, ...rest } = pod.status ?? {};
  const said =
    step.do === "recall"
      ? { reason: returnedReason, message: "its node is back, it counts again" }
      : { reason: step.reason, message: step.message };
  const status = step.do === "displace" ? "True" : "False";
  const before = conditionOf(rest.conditions, displacedCondition);
  const same = before?.status === status && before.message === said.message;
  if (same && !(step.do === "recall" && isMarked(pod))) return undefined;
  const conditions = withCondition(rest.conditions, {
    type: displacedCondition,
    status,
    ...said,
    lastTransitionTime: timeText(nowMs),
  });
  if (step.do === "recall") return { ...rest, conditions };
  if (step.do !== "end") return { ...rest, ...said, conditions };
  const lastTransitionTime = timeText(nowMs);
  const notReady = { type: "Ready", status: "False", ...said, lastTransitionTime } as const;
  return { ...rest, ...said, phase: "Failed", conditions: withCondition(conditions, notReady) };
}
