/**
 * Follows what was lost with a node until it runs elsewhere, and times each phase by what this leader
 * saw: verdict → decided → scheduled → started → routed. Watches only; it decides nothing. Bounded by
 * the nodes that are silent and their pods, and given up after `lateMs`.
 */
import { podIsReady, type Pod } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import { controllerOf, uidOf } from "../objects.ts";
import type { Phases } from "./loss-words.ts";

export type LossEnd = {
  readonly node: string;
  /** What was said of the silence when the loss began. */
  readonly silence: string;
  readonly count: number;
} & (
  | {
      readonly state: "replaced";
      readonly nodes: readonly string[];
      /** The phases are counted from here. */
      readonly fromMs: MonotonicMs;
      readonly phases: Phases;
    }
  | { readonly state: "late"; readonly done: number; readonly afterMs: number }
);

export interface Losses {
  /** Membership's verdict just turned: phases are counted from now. */
  judged(node: string): void;
  /** Before a pod's loss is written. `siblings`: what its owner has already, which replaces nothing. */
  losing(node: string, silence: string, pod: Pod, siblings: Iterable<Pod>): void;
  /** It is written. */
  lost(node: string, pod: Pod): void;
  /** It was not there any more, or was given up before. */
  spared(node: string, pod: Pod): void;
  /** A pod as it stands now; undefined: it is gone. */
  seen(uid: string, pod: Pod | undefined): void;
  /** Some service's endpoints changed. */
  routesChanged(): void;
  /** The node is back, or gone for good. */
  forget(node: string): void;
  /** Gives up waiting for what takes too long. */
  expire(): void;
  readonly open: number;
}

type Replacement = {
  readonly owner: string;
  pod: Pod;
  scheduledMs: MonotonicMs | undefined;
  startedMs: MonotonicMs | undefined;
  routedMs: MonotonicMs | undefined;
};

type Loss = {
  readonly node: string;
  readonly silence: string;
  readonly fromMs: MonotonicMs;
  /** By the lost pod's uid: its owner, and when its loss was written. */
  readonly lost: Map<string, { owner: string; decidedMs: MonotonicMs | undefined }>;
  /** Pods of the owners that were there before. */
  readonly before: Set<string>;
  readonly replacements: Map<string, Replacement>;
};

/** A verdict older than this is not what a pod's loss is counted from: the pod tolerated it meanwhile. */
const verdictFreshMs = 1000;

export function createLosses(
  deps: {
    nowMs: () => MonotonicMs;
    /** Whether every service that selects the pod has it among its addresses. */
    isRouted: (pod: Pod) => boolean;
    onEnd: (end: LossEnd) => void;
  },
  options: { lateMs: number },
): Losses {
  const { nowMs, isRouted, onEnd } = deps;
  const judgedMsByNode = new Map<string, MonotonicMs>();
  const lossesByNode = new Map<string, Loss>();

  /** Whether a pod of that owner takes the place of one that was lost and has no replacement yet. */
  const wants = ({ lost, before, replacements }: Loss, owner: string, uid: string) => {
    if (before.has(uid) || lost.has(uid)) return false;
    const ofOwner = (all: Map<string, { readonly owner: string }>) =>
      [...all.values()].filter((one) => one.owner === owner).length;
    return ofOwner(replacements) < ofOwner(lost);
  };

  const advance = (one: Replacement) => {
    const at = nowMs();
    const { spec, status } = one.pod;
    if (spec.nodeName) one.scheduledMs ??= at;
    if (status?.phase === "Running") one.startedMs ??= at;
    if (podIsReady(one.pod) && isRouted(one.pod)) one.routedMs ??= at;
  };

  const settle = (loss: Loss) => {
    const decided = [...loss.lost.values()].flatMap(({ decidedMs }) => decidedMs ?? []);
    const done = [...loss.replacements.values()].filter(({ routedMs }) => routedMs !== undefined);
    if (decided.length < loss.lost.size || done.length < loss.lost.size) return;
    lossesByNode.delete(loss.node);
    const since = (marks: readonly (MonotonicMs | undefined)[]) =>
      Math.max(...marks.map((at) => (at ?? loss.fromMs) - loss.fromMs));
    onEnd({
      state: "replaced",
      node: loss.node,
      silence: loss.silence,
      count: loss.lost.size,
      nodes: done.map(({ pod }) => pod.spec.nodeName ?? "?"),
      fromMs: loss.fromMs,
      phases: {
        decidedMs: since(decided),
        scheduledMs: since(done.map(({ scheduledMs }) => scheduledMs)),
        startedMs: since(done.map(({ startedMs }) => startedMs)),
        routedMs: since(done.map(({ routedMs }) => routedMs)),
      },
    });
  };

  return {
    judged(node) {
      judgedMsByNode.set(node, nowMs());
    },
    losing(node, silence, pod, siblings) {
      const owner = controllerOf(pod)?.uid;
      if (owner === undefined) return;
      let loss = lossesByNode.get(node);
      if (!loss) {
        const now = nowMs();
        const judgedMs = judgedMsByNode.get(node);
        const fromMs = judgedMs !== undefined && now - judgedMs < verdictFreshMs ? judgedMs : now;
        const [lost, before, replacements] = [new Map(), new Set<string>(), new Map()];
        loss = { node, silence, fromMs, lost, before, replacements };
        lossesByNode.set(node, loss);
      }
      if (loss.lost.has(uidOf(pod))) return;
      // It may have been to replace another, which needs one more now.
      for (const { replacements } of lossesByNode.values()) replacements.delete(uidOf(pod));
      loss.lost.set(uidOf(pod), { owner, decidedMs: undefined });
      for (const sibling of siblings)
        if (!loss.replacements.has(uidOf(sibling))) loss.before.add(uidOf(sibling));
    },
    lost(node, pod) {
      const loss = lossesByNode.get(node);
      const entry = loss?.lost.get(uidOf(pod));
      if (!loss || !entry) return;
      entry.decidedMs ??= nowMs();
      settle(loss);
    },
    spared(node, pod) {
      const loss = lossesByNode.get(node);
      if (!loss || loss.lost.get(uidOf(pod))?.decidedMs !== undefined) return;
      loss.lost.delete(uidOf(pod));
      if (loss.lost.size === 0) lossesByNode.delete(node);
      else settle(loss);
    },
    seen(uid, pod) {
      const all = [...lossesByNode.values()];
      const owner = pod && controllerOf(pod)?.uid;
      const known = all.find(({ replacements }) => replacements.has(uid));
      if (!pod || owner === undefined) {
        known?.replacements.delete(uid);
        return;
      }
      const loss = known ?? all.find((one) => wants(one, owner, uid));
      if (!loss) return;
      const marks = { scheduledMs: undefined, startedMs: undefined, routedMs: undefined };
      const one = loss.replacements.get(uid) ?? { owner, pod, ...marks };
      one.pod = pod;
      loss.replacements.set(uid, one);
      advance(one);
      settle(loss);
    },
    routesChanged() {
      for (const loss of lossesByNode.values()) {
        for (const one of loss.replacements.values()) advance(one);
        settle(loss);
      }
    },
    forget(node) {
      judgedMsByNode.delete(node);
      lossesByNode.delete(node);
    },
    expire() {
      for (const loss of lossesByNode.values()) {
        const afterMs = nowMs() - loss.fromMs;
        if (afterMs < options.lateMs) continue;
        lossesByNode.delete(loss.node);
        const { node, silence, lost, replacements } = loss;
        const done = [...replacements.values()].filter(({ routedMs }) => routedMs !== undefined);
        onEnd({ state: "late", node, silence, count: lost.size, done: done.length, afterMs });
      }
    },
    get open() {
      return lossesByNode.size;
    },
  };
}
