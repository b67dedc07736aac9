/**
 * Tracks: collections of one priority on their way to the hub. Each track goes through a log on its own,
 * with the positions of that log: what is not of its collections it covers. To the hub, which counts by
 * collection, this is nothing new; `hub-sync.ts` sees a log `ORIGIN!PRIORITY` for each, and takes the
 * highest first.
 */
import type { Vector } from "../streams/store.ts";

const mark = "!";

export const trackName = (origin: string, priority: number): string =>
  priority === 0 ? origin : `${origin}${mark}${priority}`;

export function parseTrack(name: string): { readonly origin: string; readonly priority: number } {
  const at = name.lastIndexOf(mark);
  return at < 0
    ? { origin: name, priority: 0 }
    : { origin: name.slice(0, at), priority: Number(name.slice(at + 1)) };
}

/** A log's positions, for each of these tracks. */
export const onTracks = (vector: Vector, priorities: Iterable<number>): Record<string, number> =>
  Object.fromEntries(
    [...priorities].flatMap((priority) =>
      Object.entries(vector).map(([origin, top]) => [trackName(origin, priority), top]),
    ),
  );
