/** `/metrics` as etcd writes it, as far as the ledger reads it. */

type Counts = Readonly<Record<string, number>>;

const fsyncBounds = Array.from({ length: 14 }, (_, index) => 0.001 * 2 ** index);
const roundTripBounds = Array.from({ length: 16 }, (_, index) => 0.0001 * 2 ** index);

/** Counts stand by the bucket (its upper bound, seconds) that they fell into; members by their hexadecimal id. */
export function etcdMetrics(given: {
  startedS: number;
  fsyncs: Counts;
  roundTrips?: Readonly<Record<string, Counts>>;
  leaderChanges?: number;
  heartbeatFailures?: number;
}): string {
  const histogram = (name: string, label: string, bounds: readonly number[], counts: Counts) => {
    let sum = 0;
    const lines = bounds.map((bound) => {
      const le = String(Number(bound.toPrecision(6)));
      sum += counts[le] ?? 0;
      return `${name}_bucket{${label}le="${le}"} ${sum}`;
    });
    return [...lines, `${name}_bucket{${label}le="+Inf"} ${sum}`, `${name}_count ${sum}`];
  };
  const fsync = "etcd_disk_wal_fsync_duration_seconds";
  return [
    "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
    `process_start_time_seconds ${given.startedS.toExponential()}`,
    ...histogram(fsync, "", fsyncBounds, given.fsyncs),
    ...Object.entries(given.roundTrips ?? {}).flatMap(([id, counts]) =>
      histogram(
        "etcd_network_peer_round_trip_time_seconds",
        `To="${id}",`,
        roundTripBounds,
        counts,
      ),
    ),
    `etcd_server_leader_changes_seen_total ${given.leaderChanges ?? 0}`,
    `etcd_server_heartbeat_send_failures_total ${given.heartbeatFailures ?? 0}`,
    "etcd_server_slow_apply_total 0",
    "",
  ].join("\n");
}
