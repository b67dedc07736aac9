/** A store whose readers get what was damaged on this disk from a copy, where there is one. */
import type { StreamStore } from "../streams/store.ts";
import type { SegmentRepair } from "./segment-repair.ts";

type Read = Pick<StreamStore, "read" | "groups" | "on">;

export function wholeReads<Store extends Read>(
  store: Store,
  { whole }: Pick<SegmentRepair, "whole">,
): Store {
  const { groups } = store;
  return {
    ...store,
    read: (query) => whole(() => store.read(query)),
    groups: {
      ...groups,
      create: (id, start) => whole(() => groups.create(id, start)),
      seek: (id, start) => whole(() => groups.seek(id, start)),
      take: (id, options) => whole(() => groups.take(id, options)),
    },
  };
}
