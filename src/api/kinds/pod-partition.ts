/**
 * What a pod wants when its node is cut off (DESIGN rule F): `keep` runs on there and may run twice,
 * `stop` runs at most once. A pod that stops runs by its node's lease: it is stopped when the TTL is
 * over, counted from when the last renewal that the ledger took was sent, and is started elsewhere
 * only when the TTL, its grace and a margin have passed since the ledger last saw one.
 */
import type { FieldIssue } from "../kind.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { PodSpec } from "./pod-spec.ts";
import {
  onPartitionAnnotation,
  onPartitionValues,
  partitionTtlAnnotation,
  type OnPartition,
} from "./well-known.ts";

type Annotated = { readonly annotations?: Record<string, string> | undefined } | undefined;
/** A pod, or the template of one. */
type PodLike = { readonly metadata?: Annotated; readonly spec?: PodSpec };

export const partitionTtlDefaultMs = 30_000;
const partitionTtlMinMs = 5_000;
const partitionTtlMaxMs = 600_000;
const defaultGraceMs = 30_000;
/** For clocks that differ in speed, looks that come late and kills that take a moment. */
const marginMs = 3_000;

/** `stop` for what holds a claim or a device and says nothing; else `keep` unless it says `stop`. */
export function onPartitionOf(pod: PodLike): OnPartition {
  const said = pod.metadata?.annotations?.[onPartitionAnnotation];
  if (said !== undefined) return said === "stop" ? "stop" : "keep";
  const hasClaim = (pod.spec?.volumes ?? []).some((volume) => volume.persistentVolumeClaim);
  const hasDevice = (pod.spec?.containers ?? []).some(({ resources }) =>
    Object.keys({ ...resources?.requests, ...resources?.limits }).some((name) =>
      name.includes("/"),
    ),
  );
  return hasClaim || hasDevice ? "stop" : "keep";
}

/** For how long a renewal of its node's lease lets a pod that stops run on. */
export function partitionTtlMsOf(pod: PodLike): number {
  const said = pod.metadata?.annotations?.[partitionTtlAnnotation];
  return said === undefined ? partitionTtlDefaultMs : parseDurationMs(said, partitionTtlAnnotation);
}

/** After so long without a renewal a pod that stops cannot run on its node any more. */
export function partitionWaitOf(pod: PodLike): {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly marginMs: number;
  readonly totalMs: number;
} {
  const ttlMs = partitionTtlMsOf(pod);
  const seconds = pod.spec?.terminationGracePeriodSeconds;
  const graceMs = seconds === undefined ? defaultGraceMs : seconds * 1000;
  return { ttlMs, graceMs, marginMs, totalMs: ttlMs + graceMs + marginMs };
}

/** Of the annotations of a pod or a template. */
export function partitionIssues(metadata: Annotated, path: string): FieldIssue[] {
  const issues: FieldIssue[] = [];
  const said = metadata?.annotations?.[onPartitionAnnotation];
  const allowed: readonly string[] = onPartitionValues;
  if (said !== undefined && !allowed.includes(said)) {
    issues.push({
      field: `${path}.annotations[${onPartitionAnnotation}]`,
      message: `"${said}" is not allowed, use ${allowed.join(" or ")}`,
    });
  }
  const ttl = metadata?.annotations?.[partitionTtlAnnotation];
  const problem = ttl === undefined ? undefined : ttlProblem(ttl);
  if (problem)
    issues.push({ field: `${path}.annotations[${partitionTtlAnnotation}]`, message: problem });
  return issues;
}

function ttlProblem(text: string): string | undefined {
  const range = `use ${partitionTtlMinMs / 1000}s to ${partitionTtlMaxMs / 60_000}m`;
  try {
    const ms = parseDurationMs(text, partitionTtlAnnotation);
    return ms >= partitionTtlMinMs && ms <= partitionTtlMaxMs
      ? undefined
      : `"${text}" is not allowed, ${range}`;
  } catch (error) {
    if (error instanceof SkerryError) return `"${text}" is not a duration, ${range}`;
    throw error;
  }
}

/** On a node these are what two sides count by: none may change under the other. */
export function partitionChangeIssues(pod: PodLike, previous: PodLike): FieldIssue[] {
  const because = "may not change while the pod is on a node; delete it and create it anew";
  const issues: FieldIssue[] = [];
  for (const name of [onPartitionAnnotation, partitionTtlAnnotation]) {
    const [now, before] = [pod, previous].map(({ metadata }) => metadata?.annotations?.[name]);
    if (now !== before) issues.push({ field: `metadata.annotations[${name}]`, message: because });
  }
  const graceOf = ({ spec }: PodLike) => spec?.terminationGracePeriodSeconds;
  if (onPartitionOf(previous) === "stop" && graceOf(pod) !== graceOf(previous))
    issues.push({ field: "spec.terminationGracePeriodSeconds", message: because });
  return issues;
}
