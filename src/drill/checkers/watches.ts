/**
 * Completeness of watches: whoever watches sees every revision that touches its prefix once, whole and
 * in order, from where it began to where it has read; the acknowledged writes are the measure. A
 * watch may say that it missed something (compacted); then it lists and goes on from there.
 */

export type Delivery = {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
};

/** One watch without a gap: after a `compacted` the same watcher begins another. */
export type WatchRun = {
  readonly watcher: string;
  /** It was promised everything after this revision … */
  readonly after: number;
  /** … and has been told that it has seen everything up to this one. */
  readonly upTo: number;
  readonly deliveries: readonly Delivery[];
};

export type WatchFinding = {
  readonly watcher: string;
  readonly what: "missed" | "out-of-order" | "twice" | "other-value";
  readonly text: string;
};

export function checkWatches(
  runs: readonly WatchRun[],
  acknowledged: readonly Delivery[],
): WatchFinding[] {
  return runs.flatMap((run) => {
    const seen = new Map<string, Delivery>();
    const found: Omit<WatchFinding, "watcher">[] = [];
    let last = run.after;
    for (const delivery of run.deliveries) {
      const { revision } = delivery;
      const id = idOf(delivery);
      if (seen.has(id)) found.push({ what: "twice", text: id });
      else if (revision < last)
        found.push({ what: "out-of-order", text: `${id} after revision ${last}` });
      seen.set(id, delivery);
      last = Math.max(last, revision);
    }
    for (const write of acknowledged) {
      if (write.revision <= run.after || write.revision > run.upTo) continue;
      const delivery = seen.get(idOf(write));
      if (!delivery) found.push({ what: "missed", text: idOf(write) });
      else if (delivery.value !== write.value)
        found.push({
          what: "other-value",
          text: `${idOf(write)}: ${delivery.value} for ${write.value}`,
        });
    }
    return found.map((finding) => ({ watcher: run.watcher, ...finding }));
  });
}

const idOf = ({ revision, key }: Delivery) => `${key} at revision ${revision}`;
