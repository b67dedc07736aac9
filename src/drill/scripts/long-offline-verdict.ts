/** What `long-offline` concludes beyond what every drill does. Pure. */
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import { notMeasured } from "./verdict.ts";

export type BacklogSeen = {
  /** While the WAN was away. */
  readonly acknowledged: number;
  readonly unknown: number;
  /** At the hub, in the end; those of the probe among them. */
  readonly arrived: number;
  readonly probed: number;
  /** From the heal until the hub had as many as were acknowledged. */
  readonly caughtUpMs: number;
  /** Of entries written meanwhile, one by one. */
  readonly probeP99Ms: number;
};

const probeLimitMs = 1000;
const perSecondMin = 20_000;
const acknowledgedMin = 100_000;

export function backlogPromises(seen: BacklogSeen, slowness: number): PromiseResult[] {
  const { acknowledged, unknown, arrived, probed, caughtUpMs } = seen;
  const wanted = acknowledged + probed;
  const perSecond =
    caughtUpMs === notMeasured || caughtUpMs === 0 ? 0 : (acknowledged / caughtUpMs) * 1000;
  return [
    atLeast(
      "O1",
      "entries acknowledged while the WAN was away",
      acknowledged,
      Math.floor(acknowledgedMin / slowness),
      "entries",
    ),
    atMost("O2", "of these missing at the hub", Math.max(0, wanted - arrived), 0, "entries"),
    atMost(
      "O3",
      "entries at the hub beyond those that were written",
      Math.max(0, arrived - wanted - unknown),
      0,
      "entries",
    ),
    atLeast(
      "O4",
      "the backlog arrived at this rate",
      Math.round(perSecond),
      Math.floor(perSecondMin / slowness),
      "entries/s",
    ),
    atMost(
      "O5",
      "p99 of entries written meanwhile, one every 50 ms, from when they were due",
      seen.probeP99Ms,
      probeLimitMs,
      "ms",
    ),
  ];
}
