/**
 * Refused connections, in the log with their reason: the refused side sees little more than a reset.
 * A flood of them costs a bounded number of lines; what was left out is counted in the next one.
 */
import type { MonotonicMs } from "../lib/brand.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log, LogFields } from "../lib/log.ts";

/** A reason that came with a hint: what it was the last time. */
export type Refusal = {
  readonly reason: string;
  readonly count: number;
  readonly why: string;
  readonly hint: string;
  /** By the clock that was passed in. */
  readonly atMs: MonotonicMs;
};

export interface Audit {
  /** Not `isLoud`: counted only. */
  refused(reason: string, fields: LogFields, options?: { isLoud: boolean }): void;
  /** Those that somebody can mend. */
  refusals(): readonly Refusal[];
  /** Since the start, by reason. */
  readonly refusedByReason: ReadonlyMap<string, number>;
}

const linesMax = 20;
const windowMs = 10_000;

export function createAudit(deps: { clock: Clock; log: Log }): Audit {
  const refusedByReason = new Map<string, number>();
  let windowStartedMs = deps.clock.monotonicMs();
  let lines = 0;
  let left = 0;
  const lastByReason = new Map<string, { why: string; hint: string; atMs: MonotonicMs }>();
  return {
    refusedByReason,
    refusals: () =>
      [...lastByReason].map(([reason, last]) => ({
        reason,
        count: refusedByReason.get(reason) ?? 0,
        ...last,
      })),
    refused(reason, fields, { isLoud } = { isLoud: true }) {
      refusedByReason.set(reason, (refusedByReason.get(reason) ?? 0) + 1);
      const nowMs: MonotonicMs = deps.clock.monotonicMs();
      const { why, hint } = fields;
      if (typeof hint === "string")
        lastByReason.set(reason, { why: typeof why === "string" ? why : "", hint, atMs: nowMs });
      if (!isLoud) return;
      if (nowMs - windowStartedMs >= windowMs) {
        windowStartedMs = nowMs;
        lines = 0;
      }
      if (++lines > linesMax) {
        left++;
        return;
      }
      deps.log.warn("connection refused", {
        reason,
        ...fields,
        ...(left > 0 && { notLoggedBefore: left }),
      });
      left = 0;
    },
  };
}
