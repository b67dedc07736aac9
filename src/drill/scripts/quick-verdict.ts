/** What the quick drill concludes from what its load and its checkers saw. Pure. */
import type { EntryCheckResult } from "../checkers/entries.ts";
import { atLeast, atMost, type DrillReport } from "../drill.ts";
import { lossPromises, recordsOf, type Loss, type LossesSeen } from "./loss-verdict.ts";
import {
  serverPromises,
  serverRecord,
  serverRemarks,
  type ServerLossSeen,
} from "./server-verdict.ts";
import {
  caughtUp,
  dataPromises,
  elapsedMs,
  endOutages,
  hubCatchUpMs,
  ingressBackPromise,
  notMeasured,
  podsChanged,
  readableView,
  remarksOn,
  reportOf,
  requestPromises,
  type Seen,
} from "./verdict.ts";

const ingressBackMs = 2000;

export type QuickSeen = Seen & {
  /** The hub, just before the WAN was healed; and from then until it held what was acknowledged before. */
  readonly atCut: EntryCheckResult;
  readonly atHeal: EntryCheckResult;
  /** Pids by uid of pod, before and after the agents were killed. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  /** How many of `outages` were agents'. */
  readonly agents: readonly string[];
  /** Absent where links cannot be cut. */
  readonly machines?: {
    readonly losses: readonly Loss[];
    readonly podsOff: number;
    readonly server: Omit<ServerLossSeen, "samples" | "entries" | "slowness">;
    readonly entriesByNode: ServerLossSeen["entries"]["byNode"];
  };
};

export function judgeQuick(seen: QuickSeen): { report: DrillReport; remarks: readonly string[] } {
  const { samples } = seen.requests;
  const { machines } = seen;
  const outages = endOutages(seen);
  const agents = outages.filter(({ fault }) => seen.agents.includes(fault));
  const server: ServerLossSeen | undefined = machines && {
    ...machines.server,
    samples,
    slowness: seen.slowness,
    entries: { byNode: machines.entriesByNode },
  };
  const losses: LossesSeen = {
    nodes: seen.nodes,
    samples,
    losses: machines?.losses ?? [],
    outages: outages.filter(({ fault }) => fault !== server?.outage.fault),
    podsOff: machines?.podsOff ?? notMeasured,
  };
  const promises = [
    ...dataPromises(seen),
    atMost(
      "D5",
      "hub caught up after the WAN was healed, under load",
      caughtUp(seen.atHeal, "hub"),
      hubCatchUpMs,
      "ms",
    ),
    atLeast(
      "D6",
      "entries that the cut kept from the hub",
      readableView(seen.atCut, "hub")?.lost ?? 0,
      1,
      "entries",
    ),
    ...requestPromises(seen, outages),
    atMost(
      "A3",
      "ingress of a killed or restarted agent back",
      agents.length === 0
        ? notMeasured
        : Math.max(...agents.map(({ fromMs, toMs }) => elapsedMs(fromMs, toMs))),
      ingressBackMs,
      "ms",
    ),
    atMost(
      "A4",
      "pods whose uid or pid changed when agents were killed",
      podsChanged(seen.before, seen.after),
      0,
      "pods",
    ),
    ...(server
      ? [...lossPromises(losses), ...serverPromises(server), ingressBackPromise(outages)]
      : []),
  ];
  const records = [...seen.faults, ...recordsOf(losses), ...(server ? [serverRecord(server)] : [])];
  return {
    report: reportOf("quick", seen, { promises, outages, faults: records }),
    remarks: [...(server ? serverRemarks(server) : []), ...remarksOn(seen, outages)],
  };
}
