/**
 * The controllers' view of one kind: what the watch has delivered, by key and by index. Reading costs
 * no list; an index answers in the size of its answer. It may lag: what must not act on a lagging view
 * compares `revision` with the revision of its own last write.
 */
import type { KubeObject } from "../../api/index.ts";
import { keyOf, revisionOf } from "../objects.ts";

export type Change<T> = {
  readonly key: string;
  /** Undefined: it is gone. */
  readonly object: T | undefined;
  readonly previous: T | undefined;
};

/** The values under which an object is found in one index. */
export type IndexFunction<T> = (object: T) => readonly string[];

export interface Cache<T extends KubeObject = KubeObject> {
  get(key: string): T | undefined;
  all(): Iterable<T>;
  readonly size: number;
  /** Objects under `value` of the index `name`; throws when there is no such index. */
  byIndex(name: string, value: string): T[];
  /** The newest revision of this kind that was delivered. */
  readonly revision: number;
  readonly synced: boolean;
  onChange(listener: (change: Change<T>) => void): () => void;
}

export interface CacheWriter<T extends KubeObject> extends Cache<T> {
  put(object: T): void;
  remove(object: T): void;
  /** The whole truth as of `revision`: what is not among `objects` is gone. */
  replace(objects: readonly T[], revision: number): void;
  /** Nothing of this kind changed up to `revision`. */
  advance(revision: number): void;
}

export function createCache<T extends KubeObject>(
  indexes: Readonly<Record<string, IndexFunction<T>>>,
  onListenerError: (error: unknown) => void,
): CacheWriter<T> {
  const objects = new Map<string, T>();
  const keysByValueByIndex = new Map<string, Map<string, Set<string>>>(
    Object.keys(indexes).map((name) => [name, new Map()]),
  );
  const listeners = new Set<(change: Change<T>) => void>();
  let revision = 0;
  let synced = false;

  const unindex = (key: string, object: T) => {
    for (const [name, values] of Object.entries(indexes)) {
      const keysByValue = keysByValueByIndex.get(name);
      for (const value of values(object)) {
        const keys = keysByValue?.get(value);
        keys?.delete(key);
        if (keys?.size === 0) keysByValue?.delete(value);
      }
    }
  };
  const index = (key: string, object: T) => {
    for (const [name, values] of Object.entries(indexes)) {
      const keysByValue = keysByValueByIndex.get(name);
      for (const value of values(object)) {
        const keys = keysByValue?.get(value) ?? new Set<string>();
        keysByValue?.set(value, keys);
        keys.add(key);
      }
    }
  };
  const tell = (change: Change<T>) => {
    for (const listener of listeners) {
      try {
        listener(change);
      } catch (error) {
        onListenerError(error);
      }
    }
  };
  const set = (key: string, object: T | undefined): Change<T> => {
    const previous = objects.get(key);
    if (previous) unindex(key, previous);
    if (object) {
      objects.set(key, object);
      index(key, object);
    } else {
      objects.delete(key);
    }
    return { key, object, previous };
  };

  return {
    get: (key) => objects.get(key),
    all: () => objects.values(),
    get size() {
      return objects.size;
    },
    byIndex(name, value) {
      const keysByValue = keysByValueByIndex.get(name);
      if (!keysByValue) throw new RangeError(`no index "${name}"`);
      return [...(keysByValue.get(value) ?? [])].flatMap((key) => objects.get(key) ?? []);
    },
    get revision() {
      return revision;
    },
    get synced() {
      return synced;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    put(object) {
      const key = keyOf(object);
      const current = objects.get(key);
      revision = Math.max(revision, revisionOf(object));
      // A resumed watch repeats what was seen: an older version never replaces a newer one.
      if (current && revisionOf(current) >= revisionOf(object)) return;
      tell(set(key, object));
    },
    remove(object) {
      const key = keyOf(object);
      const current = objects.get(key);
      revision = Math.max(revision, revisionOf(object));
      // Of another life of the same name, repeated after that name was taken again.
      if (current && current.metadata.uid !== object.metadata.uid) return;
      if (current) tell(set(key, undefined));
    },
    replace(all, at) {
      revision = at;
      synced = true;
      const next = new Map(all.map((object) => [keyOf(object), object]));
      // Nobody is told before everything stands: a listener would plan on half of the truth.
      const changes: Change<T>[] = [];
      for (const key of objects.keys()) if (!next.has(key)) changes.push(set(key, undefined));
      for (const [key, object] of next) {
        const current = objects.get(key);
        const same =
          current?.metadata.uid === object.metadata.uid &&
          current?.metadata.resourceVersion === object.metadata.resourceVersion;
        if (!same) changes.push(set(key, object));
      }
      changes.forEach(tell);
    },
    advance(at) {
      revision = Math.max(revision, at);
    },
  };
}
