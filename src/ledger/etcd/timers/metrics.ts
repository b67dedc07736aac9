/**
 * What etcd counts of itself, read from its `/metrics` (names of 3.4 to 3.6), and what happened
 * between two such looks. Pure.
 */

/** Cumulative, as Prometheus has it; the last bound is infinite. Seconds. */
export type Histogram = {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
};

export type Sample = {
  /** When the process began, seconds since 1970: another one counts from zero again. */
  readonly startedS: number;
  readonly fsync: Histogram;
  /** By the member's id, decimal. */
  readonly roundTrips: ReadonlyMap<string, Histogram>;
  readonly leaderChanges: number;
  readonly heartbeatFailures: number;
  readonly slowApplies: number;
};

const fsyncName = "etcd_disk_wal_fsync_duration_seconds_bucket";
const roundTripName = "etcd_network_peer_round_trip_time_seconds_bucket";

/** Undefined for a text that is not etcd's. */
export function parseSample(text: string): Sample | undefined {
  const fsync = collector();
  const roundTrips = new Map<string, ReturnType<typeof collector>>();
  const plain = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (!line.startsWith("etcd_") && !line.startsWith("process_start_time_seconds")) continue;
    const end = line.lastIndexOf(" ");
    const value = Number(line.slice(end + 1));
    if (end < 0 || !Number.isFinite(value)) continue;
    const name = /^[a-z_]+/.exec(line)?.[0] ?? "";
    if (name === fsyncName) fsync.add(labelOf(line, "le"), value);
    else if (name === roundTripName) {
      const id = decimalId(labelOf(line, "To"));
      const histogram = roundTrips.get(id) ?? collector();
      roundTrips.set(id, histogram);
      histogram.add(labelOf(line, "le"), value);
    } else if (name.length === end) plain.set(name, value);
  }
  const startedS = plain.get("process_start_time_seconds");
  const counted = fsync.done();
  if (startedS === undefined || counted.counts.length === 0) return undefined;
  return {
    startedS,
    fsync: counted,
    roundTrips: new Map([...roundTrips].map(([id, histogram]) => [id, histogram.done()])),
    leaderChanges: plain.get("etcd_server_leader_changes_seen_total") ?? 0,
    heartbeatFailures: plain.get("etcd_server_heartbeat_send_failures_total") ?? 0,
    slowApplies: plain.get("etcd_server_slow_apply_total") ?? 0,
  };
}

function collector() {
  const bounds: number[] = [];
  const counts: number[] = [];
  return {
    add(bound: string, count: number) {
      bounds.push(bound === "+Inf" ? Infinity : Number(bound));
      counts.push(count);
    },
    done: (): Histogram => ({ bounds, counts }),
  };
}

const labelOf = (line: string, label: string) => line.split(`${label}="`)[1]?.split('"')[0] ?? "";

/** Ids are told in hexadecimal here, and in decimal everywhere else. */
const decimalId = (hex: string) =>
  /^[0-9a-f]{1,16}$/.test(hex) ? String(BigInt(`0x${hex}`)) : hex;

/** What came after `before`; all of it when there was nothing before. */
export function since(now: Histogram, before: Histogram | undefined): Histogram {
  if (!before) return now;
  return {
    bounds: now.bounds,
    counts: now.counts.map((count, index) => count - (before.counts[index] ?? 0)),
  };
}

export const countOf = ({ counts }: Histogram) => counts.at(-1) ?? 0;

/**
 * In milliseconds, interpolated within its bucket as Prometheus' `histogram_quantile` does; undefined
 * when nothing was counted. What lies above the last bound is told as that bound.
 */
export function percentileMs(histogram: Histogram, share: number): number | undefined {
  const { bounds, counts } = histogram;
  const total = countOf(histogram);
  if (total <= 0) return undefined;
  const rank = share * total;
  const index = counts.findIndex((count) => count >= rank);
  const [below, lower] = [counts[index - 1] ?? 0, bounds[index - 1] ?? 0];
  const upper = bounds[index] ?? lower;
  if (!Number.isFinite(upper)) return lower * 1000;
  const within = (counts[index] ?? 0) - below;
  const part = within === 0 ? 1 : (rank - below) / within;
  return (lower + (upper - lower) * part) * 1000;
}
