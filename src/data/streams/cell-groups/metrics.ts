/** What groups of the cell count at a node. */
import type { Metrics } from "../../../runtime/metrics/index.ts";
import type { CellGroupCounters, CellGroups } from "./cell-groups.ts";

export function countCellGroups(metrics: Metrics): {
  readonly counters: CellGroupCounters;
  /** Groups that are held are shown with each scrape. */
  showHeld(held: CellGroups["held"]): void;
} {
  const labels = ["stream", "group"] as const;
  const lag = metrics.gauge(
    "skerry_cell_group_lag_entries",
    "Entries in this node's store that a group of the cell has not acknowledged; only at the node that holds the group.",
    labels,
  );
  const takenOver = metrics.counter(
    "skerry_cell_group_taken_over_total",
    "Times that this node took a group of the cell over.",
    labels,
  );
  const acknowledged = metrics.counter(
    "skerry_cell_group_acknowledged_entries_total",
    "Entries of a group of the cell that this node acknowledged.",
    labels,
  );
  const fenced = metrics.counter(
    "skerry_cell_group_fenced_total",
    "Acknowledgements that were refused at this node because another held the group by then.",
    labels,
  );
  return {
    counters: {
      takenOver: ({ stream, group }) => takenOver.inc({ stream, group }),
      acknowledged: ({ stream, group }, entries) => acknowledged.inc({ stream, group }, entries),
      fenced: ({ stream, group }) => fenced.inc({ stream, group }),
    },
    showHeld: (held) =>
      metrics.beforeRender(async () => {
        const now = await held();
        lag.reset();
        for (const { stream, group, lag: entries } of now) lag.set({ stream, group }, entries);
      }),
  };
}
