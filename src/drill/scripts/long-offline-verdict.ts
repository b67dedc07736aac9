/** What `long-offline` concludes beyond what every drill does. Pure. */
import type { NumberCheckResult } from "../checkers/numbers.ts";
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import { notMeasured } from "./verdict.ts";

export type ProbesSeen = {
  readonly sent: number;
  /** What those said that were refused, or not answered. */
  readonly failures: readonly string[];
  readonly p99Ms: number;
};

export type BacklogSeen = {
  /** While the WAN was away. */
  readonly acknowledged: number;
  /** At the hub, in the end: the backlog's and the probe's. */
  readonly numbers: NumberCheckResult;
  /** From the heal until the hub had as many as were acknowledged. */
  readonly caughtUpMs: number;
  /** Written meanwhile, one by one. */
  readonly probes: ProbesSeen;
};

/*
 * Measured with all machines on two cores. By itself: 188,000 to 300,000 entries/s, p99 171 to 197 ms.
 * With as much again running beside it: 880,000 entries in a run of 60 s, 76,000/s, p99 375 ms. What is
 * asked leaves that much room, and no more.
 */
const acknowledgedPerSecondMin = 10_000;
const arrivedPerSecondMin = 60_000;
const probeLimitMs = 600;

export function backlogPromises(
  seen: BacklogSeen,
  { forMs, slowness }: { readonly forMs: number; readonly slowness: number },
): PromiseResult[] {
  const { acknowledged, numbers, caughtUpMs, probes } = seen;
  const perSecond =
    caughtUpMs === notMeasured || caughtUpMs === 0 ? 0 : (acknowledged / caughtUpMs) * 1000;
  const isRead = "found" in numbers;
  return [
    atLeast(
      "O1",
      "entries acknowledged while the WAN was away",
      acknowledged,
      Math.floor(((forMs / 1000) * acknowledgedPerSecondMin) / slowness),
      "entries",
    ),
    atMost(
      "O2",
      "of these, and of those written meanwhile, missing at the hub, each by its number",
      isRead ? numbers.lost : notMeasured,
      0,
      "entries",
    ),
    atMost(
      "O3",
      "entries at the hub twice, or that nobody wrote, each by its number",
      isRead ? numbers.duplicated + numbers.strange : notMeasured,
      0,
      "entries",
    ),
    atLeast(
      "O4",
      "the backlog arrived at this rate",
      Math.round(perSecond),
      Math.floor(arrivedPerSecondMin / slowness),
      "entries/s",
    ),
    atMost(
      "O5",
      "p99 of entries written meanwhile, one every 50 ms, from when they were due",
      probes.p99Ms,
      probeLimitMs,
      "ms",
    ),
    atMost(
      "O6",
      "of these refused, or not answered",
      probes.sent === 0 ? notMeasured : probes.failures.length,
      0,
      "entries",
    ),
  ];
}
