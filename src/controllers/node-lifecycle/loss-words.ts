/** What people read about a lost node, in `kubectl get events` and `kubectl describe node`. Pure. */
import { tellUnreachable, type NodeVerdict } from "../../api/index.ts";
import type { MayEvict } from "../ports.ts";
import type { PodStep } from "./plan.ts";
import { tellSeconds } from "./seconds.ts";

export type Silent = Extract<NodeVerdict, { state: "unreachable" }>;

/** Milliseconds from the verdict to the last pod's end of each phase. */
export type Phases = {
  /** The pods' loss is written: their owners may start others. */
  readonly decidedMs: number;
  readonly scheduledMs: number;
  readonly startedMs: number;
  /** Ready, and an endpoint of every service that selects it. */
  readonly routedMs: number;
};

/** What becomes of the pods of one silent node. */
export type Decision = {
  readonly replaced: number;
  /** Nothing owns them, or nobody knows for how long they may run on. */
  readonly held: number;
  /** They run at most once: replaced when the node's lease is over. */
  readonly leased: number;
  /** They tolerate the silence for a while. */
  readonly waiting: number;
  /** Rule E. */
  readonly mayEvict: MayEvict;
};

export function decisionOf(
  steps: readonly { readonly step: PodStep; readonly displaced: boolean }[],
  mayEvict: Decision["mayEvict"],
): Decision {
  const replaced = steps.filter(
    ({ step, displaced }) => step.do === "displace" || step.do === "end" || displaced,
  );
  const held = steps.filter(({ step }) => step.do === "hold" && step.againMs === undefined);
  const leased = steps.filter(({ step }) => step.do === "hold" && step.againMs !== undefined);
  const waiting = steps.filter(
    ({ step, displaced }) => step.do === "nothing" && step.againMs !== undefined && !displaced,
  );
  return {
    replaced: replaced.length,
    held: held.length,
    leased: leased.length,
    waiting: waiting.length,
    mayEvict,
  };
}

/** `n3 unreachable for 1.5 s to n1 and n2` */
export function tellSilence(node: string, { forMs, witnesses, hub }: Silent, self: string): string {
  const silence = `${node} unreachable for ${tellSeconds(forMs)} to ${listed([self, ...witnesses].sort())}`;
  return hub === undefined ? silence : `${silence} (${tellUnreachable({ hub })})`;
}

/** The loss when it is decided what becomes of the node's pods. */
export function tellDecision(
  silence: string,
  { replaced, held, leased, waiting, mayEvict }: Decision,
): string {
  if (replaced + held + leased + waiting === 0) return `${silence}; no pods to replace`;
  if (!mayEvict.allowed)
    return `${silence}; ${pods(replaced + held + leased + waiting)} not replaced: ${mayEvict.because}`;
  const parts = [
    replaced > 0 ? `${pods(replaced)} being replaced: ${mayEvict.because}` : "",
    held > 0 ? `${pods(held)} held where they may still run` : "",
    leased > 0
      ? `${pods(leased)} of those that run at most once left until the node's lease is over`
      : "",
    waiting > 0 ? `${pods(waiting)} left for as long as they tolerate it` : "",
  ];
  return [silence, ...parts.filter((part) => part !== "")].join("; ");
}

/** The end of it: `its 2 pods replaced on n1, n2: decided 12 ms, scheduled 30 ms, …` */
export function tellReplaced(
  silence: string,
  count: number,
  nodes: readonly string[],
  phases: Phases,
): string {
  return `${silence}; ${its(count)} replaced on ${[...new Set(nodes)].sort().join(", ")}: ${tellPhases(phases)}`;
}

export function tellLate(silence: string, done: number, count: number, afterMs: number): string {
  return `${silence}; ${done} of ${its(count)} replaced after ${tellSeconds(afterMs)}: see the pods that are pending or not ready`;
}

export function tellReturn(node: string, goneMs: number | undefined, survivors: number): string {
  const after = goneMs === undefined ? "" : ` after ${tellSeconds(goneMs)}`;
  if (survivors === 0) return `${node} is back${after}`;
  const count = survivors === 1 ? "counts" : "count";
  return `${node} is back${after}; ${its(survivors)} ${count} again, and of what is too many the newest go`;
}

const tellPhases = ({ decidedMs, scheduledMs, startedMs, routedMs }: Phases) =>
  `decided ${Math.round(decidedMs)} ms, scheduled ${Math.round(scheduledMs)} ms, started ${Math.round(startedMs)} ms, routed ${Math.round(routedMs)} ms`;

const its = (count: number) => (count === 1 ? "its pod" : `its ${count} pods`);
const pods = (count: number) => `${count} pod${count === 1 ? "" : "s"}`;

/** `n1`, `n1 and n2`, `n1, n2 and n3`; of many the first few. */
export function listed(names: readonly string[]): string {
  const shown = names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} others`] : names;
  return shown.length < 2
    ? (shown[0] ?? "nobody")
    : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}
