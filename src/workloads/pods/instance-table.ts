/** The newest known state of every instance; events and lists may cross, so no instance goes back in its life. */
import type { Instance } from "../driver.ts";

export interface InstanceTable {
  put(instance: Instance): void;
  drop(id: string): void;
  ofPod(podUid: string): readonly Instance[];
  all(): readonly Instance[];
  /** Call before asking for a list, and give the answer to `replace`. */
  mark(): ReadonlySet<string>;
  /** What was known before the list was asked for and is not in it is gone. */
  replace(list: readonly Instance[], before: ReadonlySet<string>): void;
}

const rank = { starting: 0, running: 1, stopping: 2, exited: 3 } as const;

export function createInstanceTable(options: {
  onChange: (podUid: string) => void;
}): InstanceTable {
  const instancesById = new Map<string, Instance>();
  const put = (instance: Instance) => {
    const known = instancesById.get(instance.id);
    if (known && rank[known.current.state] > rank[instance.current.state]) return;
    instancesById.set(instance.id, instance);
    options.onChange(instance.owner.podUid);
  };
  const drop = (id: string) => {
    const known = instancesById.get(id);
    if (!known) return;
    instancesById.delete(id);
    options.onChange(known.owner.podUid);
  };
  return {
    put,
    drop,
    ofPod: (podUid) => [...instancesById.values()].filter(({ owner }) => owner.podUid === podUid),
    all: () => [...instancesById.values()],
    mark: () => new Set(instancesById.keys()),
    replace(list, before) {
      const ids = new Set(list.map(({ id }) => id));
      for (const id of before) if (!ids.has(id)) drop(id);
      for (const instance of list) put(instance);
    },
  };
}
