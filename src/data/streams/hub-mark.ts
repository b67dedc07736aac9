/** Notes what the hub has, of logs and of lanes. */
import type { Backlog } from "../tables/backlog.ts";
import { parseLane, type HubLanes } from "../tables/lanes.ts";
import type { Names } from "../tables/names.ts";
import type { Vector } from "./store.ts";

/** Inside a transaction. */
export function markHub(
  tables: { names: Names; lanes: HubLanes; backlog: Backlog },
  scope: string,
  tops: Vector,
): void {
  const { names, lanes, backlog } = tables;
  const entries = Object.entries(tops);
  // Lanes first: what a lane takes over is then no longer counted with the log that goes on.
  for (const [name, top] of entries) {
    const lane = parseLane(name);
    const origin = lane && names.findOrigin(scope, lane.origin);
    const stream = lane && names.findStream(scope, lane.stream);
    if (!origin || !stream) continue;
    if (!lanes.isOpen(origin, stream) || lanes.hubTop(origin, stream) !== top)
      backlog.moveLane(origin, stream, top);
  }
  for (const [name, top] of entries) {
    const origin = names.findOrigin(scope, name);
    if (origin && origin.hubTop !== top) backlog.moveHubTop(origin, top);
  }
}
