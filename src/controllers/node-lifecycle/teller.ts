/**
 * Tells people about losses: one event when it is decided what becomes of a silent node's pods, one
 * when they are replaced and reachable (or are late), one when the node is back. Never one for each pod.
 */
import type { Condition, Node, NodeVerdict } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import type { Context } from "../context.ts";
import { conditionOf } from "../objects.ts";
import type { Verdicts } from "../ports.ts";
import {
  decisionOf,
  tellDecision,
  tellLate,
  tellReplaced,
  tellReturn,
  tellSilence,
  type Silent,
} from "./loss-words.ts";
import type { LossEnd } from "./losses.ts";
import type { PodStep } from "./plan.ts";
import { tellSeconds } from "./seconds.ts";

/**
 * On the event `PodsReplaced`, as JSON: when the verdict fell (events know whole seconds only), how many
 * pods were replaced, and the phases in milliseconds from the verdict on.
 */
export const phasesAnnotation = "skerry.dev/failover";

export interface Teller {
  /** Told once for each silence, and again only when rule E says something else. */
  silent(
    node: Node,
    verdict: Silent,
    steps: readonly { readonly step: PodStep; readonly displaced: boolean }[],
  ): void;
  ended(end: LossEnd): void;
  /** The node's Ready condition has another reason; `survivors`: pods there that were given up. */
  ready(node: Node, condition: Condition, survivors: number): void;
  flapping(node: Node, condition: Condition): void;
  silenceOf(node: string, verdict: NodeVerdict): string;
  /** The silence is over. */
  heard(node: string): void;
  forget(node: string): void;
}

type Told = { readonly mayEvict: boolean | undefined; readonly silentFromMs: MonotonicMs };

export function createTeller(
  { caches, clock, events, log }: Pick<Context, "caches" | "clock" | "events" | "log">,
  verdicts: Verdicts,
): Teller {
  const toldByNode = new Map<string, Told>();

  const silenceOf = (name: string, verdict: NodeVerdict): string => {
    switch (verdict.state) {
      case "unreachable": {
        const tolerance = verdicts.tolerance(name);
        const patient = tolerance && tolerance.toleratedMs > tolerance.usualMs;
        const why = patient ? ` (it flapped ${tolerance.flaps} times in ten minutes)` : "";
        return tellSilence(name, verdict, verdicts.self) + why;
      }
      case "agent-down":
        return `the agent of ${name} was down for ${tellSeconds(verdict.forMs)}`;
      default:
        return name;
    }
  };

  return {
    silenceOf,
    silent(node, verdict, steps) {
      const { name } = node.metadata;
      const mayEvict = verdicts.mayEvict(name);
      const before = toldByNode.get(name);
      const silentFromMs = (clock.monotonicMs() - verdict.forMs) as MonotonicMs;
      // What stands on the node at first sight was told by whoever led before.
      const stands = conditionOf(node.status?.conditions, "Ready")?.reason === "NodeUnreachable";
      const told = before ? before.mayEvict : stands ? mayEvict.allowed : undefined;
      const decided = mayEvict.againMs === undefined;
      toldByNode.set(name, {
        mayEvict: decided ? mayEvict.allowed : told,
        silentFromMs: before?.silentFromMs ?? silentFromMs,
      });
      if (!decided || told === mayEvict.allowed) return;
      const decision = decisionOf(steps, mayEvict);
      const message = tellDecision(silenceOf(name, verdict), decision);
      const reason = mayEvict.allowed ? "NodeUnreachable" : "EvictionsHeld";
      log.warn("node lost", { node: name, ...decision });
      events.record({ about: node, type: "Warning", reason, message });
    },
    ended(end) {
      const { silence, count } = end;
      const about = caches.nodes.get(end.node);
      if (end.state === "late") {
        log.warn("pods of a lost node are not replaced yet", { ...end });
        const message = tellLate(silence, end.done, count, end.afterMs);
        if (about) events.record({ about, type: "Warning", reason: "PodsNotReplaced", message });
        return;
      }
      log.info("pods of a lost node are replaced", { ...end });
      if (!about) return;
      const { phases } = end;
      const sinceMs = clock.monotonicMs() - end.fromMs;
      const judgedAt = new Date(clock.wallMs() - sinceMs).toISOString();
      events.record({
        about,
        type: "Normal",
        reason: "PodsReplaced",
        message: tellReplaced(silence, count, end.nodes, phases),
        annotations: { [phasesAnnotation]: JSON.stringify({ judgedAt, pods: count, ...phases }) },
      });
    },
    ready(node, condition, survivors) {
      const { name } = node.metadata;
      // Told by `silent`, with what becomes of its pods.
      if (condition.reason === "NodeUnreachable") return;
      const wasSilent = conditionOf(node.status?.conditions, "Ready")?.reason === "NodeUnreachable";
      const silentFromMs = toldByNode.get(name)?.silentFromMs;
      const goneMs = silentFromMs === undefined ? undefined : clock.monotonicMs() - silentFromMs;
      const isReady = condition.status === "True";
      events.record({
        about: node,
        type: isReady ? "Normal" : "Warning",
        reason: isReady ? "NodeReady" : (condition.reason ?? "NodeNotReady"),
        message:
          isReady && wasSilent ? tellReturn(name, goneMs, survivors) : (condition.message ?? ""),
      });
    },
    flapping(node, condition) {
      if (condition.status !== "True") return;
      const message = `${node.metadata.name} ${condition.message ?? ""}`;
      events.record({ about: node, type: "Warning", reason: "NodeFlapping", message });
    },
    heard: (node) => void toldByNode.delete(node),
    forget: (node) => void toldByNode.delete(node),
  };
}
