/**
 * A mirror serves desired state from memory: from what the disk held at once, then from what is
 * upstream, whether it can be reached or not. Writes, and kinds it does not keep, go upstream.
 */
import type { KindDefinition, KubeObject } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { ListOptions, Resources, WatchEvent } from "../resources.ts";
import { follow } from "./follow.ts";
import { createPersister } from "./persist.ts";
import { createReflection, keyOf, type Reflection } from "./reflection.ts";
import type { MirroredObject, MirrorStore } from "../mirror-store/index.ts";

/** What is kept of a kind: all of it, or what a selection leaves. Reads of the kind see no more. */
export type MirrorScope = Pick<ListOptions, "namespace" | "labelSelector" | "fieldSelector"> & {
  readonly kind: KindDefinition;
};

export type MirrorDeps = {
  readonly upstream: Resources;
  readonly store: MirrorStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Tells when upstream may be back (or gone): it is asked at once. */
  readonly onUpstreamChange?: (listener: () => void) => () => void;
};

export interface Mirror extends Resources {
  /** Loads what the disk holds, then follows upstream in the background. Call before reading. */
  start(): Promise<void>;
  /** Ends all watches, writes what waits. Idempotent. */
  stop(): Promise<void>;
  /** Whether every scope was seen as a whole upstream since the start. */
  readonly synced: boolean;
  /** Resolves when `synced`; rejects with the signal's reason. */
  whenSynced(options?: { signal?: AbortSignal }): Promise<void>;
  /** When upstream was last heard of, on the monotonic clock; undefined before the first time. */
  readonly lastContactMs: MonotonicMs | undefined;
}

export function createMirror(
  deps: MirrorDeps,
  options: { scopes: readonly MirrorScope[] },
): Mirror {
  const { upstream, store, clock } = deps;
  const log = deps.log.child({ room: "resources" });
  const parts = options.scopes.map(({ kind, ...scope }) => ({
    scope,
    reflection: createReflection(kind),
    resource: resourceOf(kind),
    listed: false,
  }));
  const reflections = new Map(parts.map((part) => [part.resource, part.reflection]));
  if (reflections.size !== parts.length) {
    throw new SkerryError({ code: "internal", message: "a mirror takes each kind once" });
  }
  const persister = createPersister({ ...deps, log }, () =>
    parts.flatMap(({ resource, reflection }) => storedOf(resource, reflection)),
  );
  const stopping = new AbortController();
  const synced = Promise.withResolvers<void>();
  let running: Promise<unknown> = Promise.resolve();
  let lastContactMs: MonotonicMs | undefined;

  const reflectionOf = (kind: KindDefinition) => reflections.get(resourceOf(kind));

  const load = async () => {
    let stored: readonly MirroredObject[] = [];
    try {
      stored = await store.load();
    } catch (error) {
      log.error("desired state could not be read from disk; it is fetched anew", { error });
      persister.rewrite();
    }
    const byResource = Map.groupBy(stored, ({ resource }) => resource);
    for (const { resource, reflection } of parts)
      reflection.load(
        (byResource.get(resource) ?? []).flatMap((object) => {
          const parsed = parseStored(object);
          if (!parsed)
            log.error("an object on disk cannot be read; it is fetched anew", { key: object.key });
          return parsed ?? [];
        }),
      );
  };

  return {
    async start() {
      await load();
      const runs = parts.map((part) =>
        follow({ ...deps, log }, part.reflection, {
          scope: part.scope,
          signal: stopping.signal,
          events: {
            onContact(listed) {
              lastContactMs = clock.monotonicMs();
              if (!listed || part.listed) return;
              part.listed = true;
              if (parts.every((other) => other.listed)) synced.resolve();
            },
            onChange: (changes) => persister.changed(part.resource, changes),
          },
        }),
      );
      running = Promise.all(runs);
      if (parts.length === 0) synced.resolve();
    },

    async stop() {
      stopping.abort();
      for (const { reflection } of parts) reflection.close();
      await running;
      await persister.close();
    },

    get synced() {
      return parts.every(({ listed }) => listed);
    },

    whenSynced: ({ signal } = {}) => orAborted(synced.promise, signal),

    get lastContactMs() {
      return lastContactMs;
    },

    async get<T extends KubeObject>(
      kind: KindDefinition<T>,
      key: Parameters<Resources["get"]>[1],
      given: { signal?: AbortSignal } = {},
    ) {
      const reflection = reflectionOf(kind as KindDefinition);
      return reflection
        ? (reflection.get(key) as T | undefined)
        : await upstream.get(kind, key, given);
    },

    async list<T extends KubeObject>(kind: KindDefinition<T>, given: ListOptions = {}) {
      const reflection = reflectionOf(kind as KindDefinition);
      if (!reflection) return await upstream.list(kind, given);
      const { items, resourceVersion } = reflection.list(given);
      return { items: items as readonly KubeObject[] as readonly T[], resourceVersion };
    },

    watch<T extends KubeObject>(
      kind: KindDefinition<T>,
      given: Parameters<Resources["watch"]>[1] = {},
    ) {
      const reflection = reflectionOf(kind as KindDefinition);
      return reflection
        ? (reflection.watch(given) as AsyncIterable<WatchEvent<T>>)
        : upstream.watch(kind, given);
    },

    create: (kind, object, given) => upstream.create(kind, object, given),
    update: (kind, object, given) => upstream.update(kind, object, given),
    patch: (kind, key, patch, given) => upstream.patch(kind, key, patch, given),
    delete: (kind, key, given) => upstream.delete(kind, key, given),
  };
}

function resourceOf(kind: KindDefinition): string {
  return `${kind.group}/${kind.plural}`;
}

function storedOf(resource: string, reflection: Reflection): MirroredObject[] {
  return [...reflection.all()].map((object) => ({
    resource,
    key: keyOf(object),
    json: JSON.stringify(object),
  }));
}

function parseStored({ json }: MirroredObject): KubeObject | undefined {
  try {
    const object = JSON.parse(json) as KubeObject;
    return typeof object?.metadata?.name === "string" ? object : undefined;
  } catch {
    return undefined;
  }
}

function orAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    return work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
