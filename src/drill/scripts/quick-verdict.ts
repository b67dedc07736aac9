/**
 * What the quick drill concludes from what its load and its checkers saw. Pure. A promise that was
 * not measured is not held: no sample, no view, an unreadable view all count against it.
 */
import { ascending, percentile } from "../../lib/percentile.ts";
import type { EntryCheckResult } from "../checkers/entries.ts";
import { atLeast, atMost, type DrillReport, type FaultRecord } from "../drill.ts";
import type { EntryLoadResult } from "../load/entries.ts";
import type { RequestLoadResult, RequestSample } from "../load/requests.ts";

export const hubCatchUpMs = 30_000;
export const entriesPerSecond = 400;
const ingressBackMs = 2000;
const requestsPerMinuteMin = 10_000;
/** After which a failure of that node's ingress is no echo of the fault any more. */
const echoMs = 10_000;

export type Outage = {
  readonly node: string;
  readonly fault: string;
  /** Since the load began. */
  readonly atMs: number;
  /** Wall clock. */
  readonly fromMs: number;
};
type EndedOutage = Outage & { readonly toMs: number };

export type QuickSeen = {
  readonly seed: number;
  readonly forMs: number;
  readonly nodes: readonly string[];
  readonly requests: RequestLoadResult;
  readonly entries: Pick<EntryLoadResult, "acknowledged" | "resent">;
  /** The hub, just before the WAN was healed; and from then until it held what was acknowledged before. */
  readonly atCut: EntryCheckResult;
  readonly atHeal: EntryCheckResult;
  /** Every node and the hub after the load. */
  readonly check: EntryCheckResult;
  /** Pids by uid of pod. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  readonly faults: readonly FaultRecord[];
  readonly outages: readonly Outage[];
};

const notMeasured = Number.MAX_SAFE_INTEGER;

export function judgeQuick(seen: QuickSeen): { report: DrillReport; remarks: readonly string[] } {
  const { samples } = seen.requests;
  const outages = seen.outages.map((outage) => ({ ...outage, toMs: backAt(samples, outage) }));
  const failed = samples.filter((sample) => sample.failure !== undefined);
  const throughLiving = failed.filter(
    (sample) => !outages.some((outage) => touches(outage, sample)),
  );
  const took = ascending(
    samples.flatMap((sample) => (sample.failure === undefined ? [sample.tookMs] : [])),
  );
  const lost = worst(seen, ({ lost: count }) => count);
  const duplicated = worst(seen, ({ duplicated: count }) => count);
  const pods = new Set([...seen.before.keys(), ...seen.after.keys()]);
  const changed = [...pods].filter((uid) => seen.before.get(uid) !== seen.after.get(uid)).length;
  const perNode = seen.nodes.map(
    (node) =>
      samples.filter(({ target, failure }) => target === node && failure === undefined).length,
  );
  const requestsMin = Math.floor((seen.forMs / 60_000) * requestsPerMinuteMin);
  const count = "entries";
  const promises = [
    atMost("D1", "acknowledged entries lost, in the hub and in every node", lost, 0, count),
    atMost(
      "D2",
      "acknowledged entries duplicated, in the hub and in every node",
      duplicated,
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
      caughtUp(seen.check),
      hubCatchUpMs,
      "ms",
    ),
    atMost(
      "D5",
      "hub caught up after the WAN was healed, under load",
      caughtUp(seen.atHeal),
      hubCatchUpMs,
      "ms",
    ),
    atLeast("D6", "entries that the cut kept from the hub", hubOf(seen.atCut)?.lost ?? 0, 1, count),
    atLeast(
      "D7",
      "entries acknowledged",
      Math.min(seen.entries.acknowledged, seen.check.acknowledged),
      Math.floor((seen.forMs / 1000) * entriesPerSecond * 0.5),
      count,
    ),
    atMost(
      "A1",
      "failed idempotent requests through nodes whose agent lives",
      throughLiving.length,
      0,
      "requests",
    ),
    atLeast("A2", "idempotent requests sent", samples.length, requestsMin, "requests"),
    atMost(
      "A3",
      "ingress of a killed or restarted agent back",
      outages.length === 0
        ? notMeasured
        : Math.round(Math.max(...outages.map(({ fromMs, toMs }) => toMs - fromMs))),
      ingressBackMs,
      "ms",
    ),
    atMost(
      "A4",
      "pods whose uid or pid changed",
      pods.size === 0 ? notMeasured : changed,
      0,
      "pods",
    ),
    atLeast(
      "A5",
      "requests answered through the node that answered fewest",
      perNode.length === 0 ? 0 : Math.min(...perNode),
      Math.floor(requestsMin / Math.max(1, seen.nodes.length) / 2),
      "requests",
    ),
  ];
  const ended = outages.map(({ atMs, fault, fromMs, toMs }) => ({
    atMs,
    fault,
    recoveredMs: Math.round(toMs - fromMs),
  }));
  return {
    report: {
      drill: "quick",
      ok: promises.every((promise) => promise.ok),
      seed: seen.seed,
      promises,
      load: {
        sent: samples.length,
        failed: failed.length,
        p50Ms: round(percentile(took, 0.5)),
        p99Ms: round(percentile(took, 0.99)),
        availability:
          samples.length === 0 ? 0 : (samples.length - throughLiving.length) / samples.length,
      },
      data: { acknowledged: seen.check.acknowledged, lost, duplicated },
      faults: [...seen.faults, ...ended].sort((a, b) => a.atMs - b.atMs),
    },
    remarks: remarksOn(seen, throughLiving),
  };
}

type View = EntryCheckResult["views"][number];

const hubOf = ({ views }: EntryCheckResult): View | undefined =>
  views.find(({ name, failure }) => name === "hub" && failure === undefined);

const caughtUp = (check: EntryCheckResult) => hubOf(check)?.completeAfterMs ?? notMeasured;

/** The worst view; a store that was not read may hold anything. */
function worst({ nodes, check }: QuickSeen, measure: (view: View) => number): number {
  return Math.max(
    ...[...nodes, "hub"].map((name) => {
      const view = check.views.find((one) => one.name === name);
      return view && view.failure === undefined ? measure(view) : notMeasured;
    }),
  );
}

function remarksOn(seen: QuickSeen, throughLiving: readonly RequestSample[]): string[] {
  return [
    ...throughLiving
      .slice(0, 5)
      .map(
        ({ target, atMs, failure }) =>
          `failed through a living node: ${target} at ${Math.round(atMs)}: ${failure}`,
      ),
    ...seen.check.views.flatMap(({ name, examples, failure }) =>
      [...examples, ...(failure === undefined ? [] : [failure])].map((text) => `${name}: ${text}`),
    ),
  ];
}

const round = (value: number | undefined) => Math.round((value ?? 0) * 10) / 10;

/** A request that was under way at any moment of the outage may fail with it. */
const touches = (outage: EndedOutage, sample: RequestSample) =>
  sample.target === outage.node &&
  sample.atMs + sample.tookMs >= outage.fromMs &&
  sample.atMs <= outage.toMs;

/** When a request that began after the last failure was first answered by that node. */
function backAt(samples: readonly RequestSample[], outage: Outage): number {
  const afterMs = Math.max(outage.fromMs, lastFailureMs(samples, outage));
  const answeredMs = samples.flatMap(({ target, failure, atMs, tookMs }) =>
    target === outage.node && failure === undefined && atMs > afterMs ? [atMs + tookMs] : [],
  );
  return answeredMs.length === 0 ? notMeasured : Math.min(...answeredMs);
}

function lastFailureMs(samples: readonly RequestSample[], { node, fromMs }: Outage): number {
  const timesMs = samples.flatMap(({ target, failure, atMs }) =>
    target === node && failure !== undefined && atMs >= fromMs && atMs < fromMs + echoMs
      ? [atMs]
      : [],
  );
  return Math.max(0, ...timesMs);
}
