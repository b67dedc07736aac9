/** What a partition and a pause did to what may run once only, and to the rest. Pure. */
import { fencedWrites, overlaps, spansOf } from "../checkers/singletons.ts";
import { atLeast, atMost, type DrillReport } from "../drill.ts";
import type { SingletonPod } from "../load/singleton.ts";
import type { Attempt } from "./server-verdict.ts";
import {
  dataPromises,
  endOutages,
  notMeasured,
  remarksOn,
  reportOf,
  requestPromises,
  type Seen,
} from "./verdict.ts";

/** From the end of the lease until the keeper has ended the pod: a look, TERM, and the pod's own way out. */
const stopMarginMs = 2000;
/** The majority waits for the lease, the grace to stop and a margin, then schedules and starts. */
const takeoverMarginMs = 20_000;
const keepReplacedWithinMs = 5000;
const writesWithinMs = 5000;
const stoppedAfterPauseMs = 5000;

/** Times as `hostMonotonicMs` counts them, except `atMs`. */
export type Cut = {
  readonly fault: string;
  /** Since the load began. */
  readonly atMs: number;
  readonly node: string;
  readonly fromMs: number;
  readonly endedMs: number;
  /** The pod that took over; undefined when none did. */
  readonly next: string | undefined;
  /** Pids by uid of the keep pods on the node that was cut off. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  readonly minorityWrites: readonly Attempt[];
  readonly majorityWritesMs: number | undefined;
  readonly keepReplacedMs: number | undefined;
};

export type Paused = {
  readonly fault: string;
  readonly atMs: number;
  readonly node: string;
  /** The pod that was paused with its machine. */
  readonly pod: string;
  readonly fromMs: number;
  readonly thawedMs: number;
  readonly next: string | undefined;
};

export type PartitionSeen = Seen & {
  readonly ttlMs: number;
  readonly pods: readonly SingletonPod[];
  readonly cut: Cut;
  readonly paused: Paused;
  readonly podsOff: number;
};

export function judgePartition(seen: PartitionSeen): {
  report: DrillReport;
  remarks: readonly string[];
} {
  const { cut, paused, pods, ttlMs } = seen;
  const outages = endOutages(seen);
  const began = (name: string | undefined) => {
    const pod = pods.find((one) => one.pod === name);
    return pod && spansOf(pod)[0]?.fromMs;
  };
  const since = (fromMs: number, atMs: number | undefined) =>
    atMs === undefined ? notMeasured : Math.round(Math.max(0, atMs - fromMs));
  // Of the pods on the cut-off node, the last moment before it was reached again.
  const lastBeatMs = Math.max(
    ...pods
      .filter(({ node }) => node === cut.node)
      .flatMap(spansOf)
      .filter(({ fromMs }) => fromMs < cut.endedMs)
      .map(({ toMs }) => toMs),
  );
  const together = overlaps(pods);
  const ofPause = together.filter(({ fromMs }) => fromMs >= paused.thawedMs);
  const others = together.filter(({ fromMs }) => fromMs < paused.thawedMs);
  const sum = (spans: readonly { fromMs: number; toMs: number }[]) =>
    Math.round(spans.reduce((total, { fromMs, toMs }) => total + toMs - fromMs, 0));
  const fenced = fencedWrites(pods);
  const written = pods.flatMap(({ lines }) =>
    lines.filter((line) => line.line === "write" && line.outcome === "done"),
  ).length;
  const changed = [...cut.before].filter(([uid, pids]) => cut.after.get(uid) !== pids).length;
  const notRefused = cut.minorityWrites.filter(
    ({ failure }) => !failure?.includes("quorum-lost"),
  ).length;
  const takeoverMs = ttlMs + takeoverMarginMs;
  const promises = [
    ...dataPromises(seen),
    ...requestPromises(seen, outages),
    atMost(
      "P1",
      "time in which two stop pods ran, no machine paused",
      pods.length < 2 ? notMeasured : sum(others),
      0,
      "ms together",
    ),
    atMost(
      "P2",
      "the stop pod of the cut-off node ended, from the cut",
      cut.next === undefined ? notMeasured : since(cut.fromMs, lastBeatMs),
      ttlMs + stopMarginMs,
      "ms",
    ),
    atMost(
      "P3",
      "the majority runs it again, from the cut",
      since(cut.fromMs, began(cut.next)),
      takeoverMs,
      "ms",
    ),
    atMost(
      "P4",
      "keep pods of the cut-off node whose uid or pid changed",
      cut.before.size === 0 ? notMeasured : changed,
      0,
      "pods",
    ),
    atMost(
      "P5",
      "keep pods replaced by the majority, from the cut",
      cut.keepReplacedMs ?? notMeasured,
      keepReplacedWithinMs,
      "ms",
    ),
    atMost(
      "P6",
      "writes of desired state through the cut-off node answered by anything but quorum-lost",
      cut.minorityWrites.length === 0 ? notMeasured : notRefused,
      0,
      "writes",
    ),
    atMost(
      "P7",
      "writes accepted through every node of the majority, from the cut",
      cut.majorityWritesMs ?? notMeasured,
      writesWithinMs,
      "ms",
    ),
    atMost(
      "P8",
      "runs again elsewhere, from the pause of its machine",
      since(paused.fromMs, began(paused.next)),
      takeoverMs,
      "ms",
    ),
    atMost(
      "P9",
      "time in which two ran after the pause, which no timer covers",
      paused.next === undefined ? notMeasured : sum(ofPause),
      stoppedAfterPauseMs,
      "ms",
    ),
    atMost("P10", "writes accepted under an older fencing token", fenced.length, 0, "writes"),
    atLeast("P11", "writes accepted under a fencing token", written, 20, "writes"),
    atMost("R3", "pods too many or too few after all were back", seen.podsOff, 0, "pods"),
  ];
  const records = [cut, paused].map(({ atMs, fault, fromMs, next }) => {
    const startedMs = began(next);
    return {
      atMs,
      fault,
      ...(startedMs === undefined ? {} : { recoveredMs: since(fromMs, startedMs) }),
    };
  });
  return {
    report: reportOf("partition", seen, {
      promises,
      outages,
      faults: [...seen.faults, ...records],
    }),
    remarks: [
      ...remarksOn(seen, outages),
      ...fenced.map(({ what, text }) => `${what}: ${text}`),
      ...cut.minorityWrites
        .filter(({ failure }) => !failure?.includes("quorum-lost"))
        .slice(0, 3)
        .map(({ failure }) => `through ${cut.node}, cut off: ${failure ?? "accepted"}`),
    ],
  };
}
