/**
 * Refused connections, in the log with their reason: the refused side sees little more than a reset.
 * A flood of them costs a bounded number of lines; what was left out is counted in the next one.
 */
import type { MonotonicMs } from "../lib/brand.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log, LogFields } from "../lib/log.ts";

export interface Audit {
  refused(reason: string, fields: LogFields): void;
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
  return {
    refusedByReason,
    refused(reason, fields) {
      refusedByReason.set(reason, (refusedByReason.get(reason) ?? 0) + 1);
      const nowMs: MonotonicMs = deps.clock.monotonicMs();
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
