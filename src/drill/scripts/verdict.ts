/**
 * What every drill concludes from what its load and its checkers saw. Pure. A promise that was not
 * measured is not held: no sample, no view, an unreadable view all count against it.
 */
import { ascending, percentile } from "../../lib/percentile.ts";
import type { EntryCheckResult } from "../checkers/entries.ts";
import {
  atLeast,
  atMost,
  type DrillReport,
  type FaultRecord,
  type PromiseResult,
} from "../drill.ts";
import type { EntryLoadResult } from "../load/entries.ts";
import type { RequestLoadResult, RequestSample } from "../load/requests.ts";

export const hubCatchUpMs = 30_000;
export const entriesPerSecond = 400;
export const notMeasured = Number.MAX_SAFE_INTEGER;
const machineBackMs = 5000;
const requestsPerMinuteMin = 10_000;
/** After which a failure of that node's ingress is no echo of the fault any more. */
const echoMs = 10_000;
/** How long after its end a fault still counts as under way. */
export const afterglowMs = 1000;

/** From `fromMs` until that node's ingress is back, requests to it cannot succeed. */
export type Outage = {
  readonly node: string;
  readonly fault: string;
  /** Since the load began. */
  readonly atMs: number;
  /** Wall clock. */
  readonly fromMs: number;
  /** Wall clock, when what was taken away was given back; absent when the node mends itself at once. */
  readonly returnedMs?: number;
};
export type EndedOutage = Outage & { readonly toMs: number };

/** What every drill has at its end. */
export type Seen = {
  readonly seed: number;
  readonly forMs: number;
  /** As in `DrillOptions`. */
  readonly slowness: number;
  readonly nodes: readonly string[];
  readonly requests: RequestLoadResult;
  readonly entries: Pick<EntryLoadResult, "acknowledged" | "resent">;
  /** Every node and the hub after the load. */
  readonly check: EntryCheckResult;
  readonly faults: readonly FaultRecord[];
  /** Whatever took a node's ingress away: an agent's death, a machine's loss. */
  readonly outages: readonly Outage[];
};

export function endOutages({ requests, outages, slowness }: Seen): EndedOutage[] {
  return outages.map((outage) => {
    const givenBackMs = outage.returnedMs ?? outage.fromMs;
    const next = outages
      .filter(({ node, fromMs }) => node === outage.node && fromMs > givenBackMs)
      .map(({ fromMs }) => fromMs);
    // What fails once the node is taken away again is no echo of this time.
    const echoUntilMs = Math.min(givenBackMs + echoMs * slowness, ...next);
    return { ...outage, toMs: backAt(requests.samples, outage, { givenBackMs, echoUntilMs }) };
  });
}

/** Nothing acknowledged is lost or doubled, and the load was one. */
export function dataPromises(seen: Seen): PromiseResult[] {
  const count = "entries";
  return [
    atMost("D1", "acknowledged entries lost, in the hub and in every node", lost(seen), 0, count),
    atMost(
      "D2",
      "acknowledged entries duplicated, in the hub and in every node",
      duplicated(seen),
      0,
      count,
    ),
    atLeast(
      "D3",
      "entries taken once more that were sent again on purpose",
      seen.entries.resent,
      Math.max(1, Math.floor(seen.entries.acknowledged * 0.05)),
      count,
    ),
    atMost(
      "D4",
      "hub caught up after the end of the load",
      caughtUp(seen.check, "hub"),
      hubCatchUpMs,
      "ms",
    ),
    atLeast(
      "D7",
      "entries acknowledged",
      Math.min(seen.entries.acknowledged, seen.check.acknowledged),
      Math.floor(((seen.forMs / 1000) * entriesPerSecond * 0.5) / seen.slowness),
      count,
    ),
  ];
}

/** No idempotent request fails or drags through a node that lives. */
export function requestPromises(seen: Seen, outages: readonly EndedOutage[]): PromiseResult[] {
  const { samples } = seen.requests;
  const answered = (node: string) =>
    samples.filter(({ target, failure }) => target === node && failure === undefined).length;
  const requestsMin = Math.floor(((seen.forMs / 60_000) * requestsPerMinuteMin) / seen.slowness);
  return [
    atMost(
      "A1",
      "failed idempotent requests through nodes whose agent lives",
      failedThroughLiving(samples, outages).length,
      0,
      "requests",
    ),
    atLeast("A2", "idempotent requests sent", samples.length, requestsMin, "requests"),
    atLeast(
      "A5",
      "requests answered through the node that answered fewest",
      seen.nodes.length === 0 ? 0 : Math.min(...seen.nodes.map(answered)),
      Math.floor(requestsMin / Math.max(1, seen.nodes.length) / 4),
      "requests",
    ),
  ];
}

/** A machine that was given back serves again: what failed meanwhile was its own, not for ever. */
export function ingressBackPromise(outages: readonly EndedOutage[]): PromiseResult {
  const backMs = outages.flatMap(({ returnedMs, toMs }) =>
    returnedMs === undefined ? [] : [elapsedMs(returnedMs, toMs)],
  );
  return atMost(
    "R4",
    "ingress of a machine that was given back answers again, without a further failure",
    backMs.length === 0 ? notMeasured : Math.max(...backMs),
    machineBackMs,
    "ms",
  );
}

export function reportOf(
  drill: string,
  seen: Seen,
  verdict: {
    readonly promises: readonly PromiseResult[];
    readonly outages: readonly EndedOutage[];
    /** Other than outages; outages carry their own end. */
    readonly faults: readonly FaultRecord[];
  },
): DrillReport {
  const { samples } = seen.requests;
  const took = ascending(
    samples.flatMap(({ failure, tookMs }) => (failure === undefined ? [tookMs] : [])),
  );
  const living = failedThroughLiving(samples, verdict.outages).length;
  const promises = verdict.promises.map((promise) => eased(promise, seen.slowness));
  return {
    drill,
    ok: promises.length > 0 && promises.every(({ ok }) => ok),
    seed: seen.seed,
    promises,
    load: {
      sent: samples.length,
      failed: samples.filter(({ failure }) => failure !== undefined).length,
      p50Ms: tenths(percentile(took, 0.5)),
      p99Ms: tenths(percentile(took, 0.99)),
      availability: samples.length === 0 ? 0 : (samples.length - living) / samples.length,
    },
    data: { acknowledged: seen.check.acknowledged, lost: lost(seen), duplicated: duplicated(seen) },
    faults: [...verdict.faults].sort((a, b) => a.atMs - b.atMs),
  };
}

/** A slower machine is given more time, and nothing else. */
function eased(promise: PromiseResult, slowness: number): PromiseResult {
  if (promise.unit !== "ms") return promise;
  const limit = promise.limit * slowness;
  return { ...promise, limit, ok: promise.measured <= limit };
}

/** For a person: examples of what went wrong. */
export function remarksOn(seen: Seen, outages: readonly EndedOutage[]): string[] {
  return [
    ...failedThroughLiving(seen.requests.samples, outages)
      .slice(0, 5)
      .map(
        ({ target, atMs, tookMs, failure }) =>
          `failed through a living node: ${target} at ${Math.round(atMs)} after ${Math.round(tookMs)} ms: ${failure}`,
      ),
    ...seen.check.views.flatMap(({ name, examples, failure }) =>
      [...examples, ...(failure === undefined ? [] : [failure])].map((text) => `${name}: ${text}`),
    ),
  ];
}

type View = EntryCheckResult["views"][number];

export function readableView({ views }: EntryCheckResult, wanted: string): View | undefined {
  return views.find(({ name, failure }) => name === wanted && failure === undefined);
}

export function caughtUp(check: EntryCheckResult, view: string): number {
  return readableView(check, view)?.completeAfterMs ?? notMeasured;
}

const lost = (seen: Seen) => worst(seen, (view) => view.lost);
const duplicated = (seen: Seen) => worst(seen, (view) => view.duplicated);

/** The worst view; a store that was not read may hold anything. */
function worst({ nodes, check }: Seen, measure: (view: View) => number): number {
  return Math.max(
    ...[...nodes, "hub"].map((name) => {
      const view = readableView(check, name);
      return view ? measure(view) : notMeasured;
    }),
  );
}

export function failedThroughLiving(
  samples: readonly RequestSample[],
  outages: readonly EndedOutage[],
): RequestSample[] {
  return samples.filter(
    (sample) => sample.failure !== undefined && !outages.some((outage) => touches(outage, sample)),
  );
}

/** A request that was under way at any moment of the outage may fail with it. */
const touches = (outage: EndedOutage, sample: RequestSample) =>
  sample.target === outage.node &&
  sample.atMs + sample.tookMs >= outage.fromMs &&
  sample.atMs <= outage.toMs;

/** 99th percentile of what was answered through `nodes` and under way between the two. */
export function p99Between(
  samples: readonly RequestSample[],
  nodes: readonly string[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
): number {
  const took = samples.flatMap(({ target, failure, atMs, tookMs }) =>
    nodes.includes(target) && failure === undefined && atMs + tookMs >= fromMs && atMs <= toMs
      ? [tookMs]
      : [],
  );
  const p99 = percentile(ascending(took), 0.99);
  return p99 === undefined ? notMeasured : Math.round(p99);
}

/** When a request that began after the last failure was first answered by that node. */
function backAt(
  samples: readonly RequestSample[],
  outage: Outage,
  { givenBackMs, echoUntilMs }: { givenBackMs: number; echoUntilMs: number },
): number {
  const failedMs = samples.flatMap(({ target, failure, atMs }) =>
    target === outage.node && failure !== undefined && atMs >= givenBackMs && atMs < echoUntilMs
      ? [atMs]
      : [],
  );
  const afterMs = Math.max(givenBackMs, ...failedMs);
  const answeredMs = samples.flatMap(({ target, failure, atMs, tookMs }) =>
    target === outage.node && failure === undefined && atMs > afterMs ? [atMs + tookMs] : [],
  );
  return answeredMs.length === 0 ? notMeasured : Math.min(...answeredMs);
}

/** Pods that are new, gone, or run other processes than before; of none at all nothing is known. */
export function podsChanged(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): number {
  const uids = new Set([...before.keys(), ...after.keys()]);
  if (uids.size === 0) return notMeasured;
  return [...uids].filter((uid) => before.get(uid) !== after.get(uid)).length;
}

/** What never came took for ever. */
export function elapsedMs(fromMs: number, toMs: number): number {
  return toMs === notMeasured ? notMeasured : Math.round(toMs - fromMs);
}

const tenths = (value: number | undefined) => Math.round((value ?? 0) * 10) / 10;
