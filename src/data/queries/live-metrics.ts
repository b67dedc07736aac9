/** What live queries count. */
import type { Metrics } from "../../runtime/metrics/index.ts";

/** Why a reader is told its whole result again. */
export type ResetReason = "not-resumable" | "collection-changed" | "queries-restarted";

export function countLiveQueries(metrics: Metrics) {
  const open = metrics.gauge(
    "skerry_live_queries",
    "Live queries that are open, those that wait to be resumed included.",
  );
  const differences = metrics.counter(
    "skerry_live_query_differences_total",
    "Differences that live queries were told.",
  );
  const coalesced = metrics.counter(
    "skerry_live_query_coalesced_total",
    "Times that a reader had not taken its last difference when there was a next: what it misses comes to it as one.",
  );
  const resets = metrics.counter(
    "skerry_live_query_resets_total",
    "Live queries that were told their whole result again, by reason.",
    ["reason"],
  );
  return {
    open: (count: () => number) => metrics.beforeRender(() => open.set(count())),
    differences: () => differences.inc(),
    coalesced: () => coalesced.inc(),
    reset: (reason: ResetReason) => resets.inc({ reason }),
  };
}
