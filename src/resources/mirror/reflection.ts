/**
 * What a mirror knows of one kind, in memory: the objects, the changes of late, and who watches.
 * Applying the same event twice, or an older one, changes nothing. Its objects are frozen, and all
 * readers share them (R14).
 */
import type { KindDefinition, KubeObject, ObjectKey } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { deepFreeze } from "../../lib/freeze.ts";
import { generationOf } from "../../lib/history.ts";
import { createQueue, type Queue } from "../../lib/queue.ts";
import type { ListOptions, ListResult, WatchEvent } from "../resources.ts";
import { selectEvent, selectionOf, type Change } from "../selection.ts";
import { isFromStart } from "../watching.ts";

/**
 * Watches may go back this many changes, or twice as many; who asks for older ones lists again, and lists are
 * short. Each holds an object, in every kind, on every node: a thousand cost 20 MB within hours.
 */
const historyMax = 128;
/** A watcher that falls further behind is told `compacted`. */
const waitingMax = 4096;

export type Reflected = { readonly key: string; readonly object: KubeObject | undefined };

export interface Reflection {
  readonly kind: KindDefinition;
  get(key: ObjectKey): KubeObject | undefined;
  all(): Iterable<KubeObject>;
  list(options: ListOptions): ListResult<KubeObject>;
  watch(options: ListOptions & { resourceVersion?: string }): AsyncIterable<WatchEvent<KubeObject>>;
  /** The state from disk, before anybody watches. */
  load(objects: readonly KubeObject[]): void;
  /** The whole truth at `resourceVersion`. Answers what changed. */
  replace(objects: readonly KubeObject[], resourceVersion: string): readonly Reflected[];
  apply(event: WatchEvent<KubeObject>): readonly Reflected[];
  /** Every watch ends without an error. */
  close(): void;
}

type Item = { readonly revision: number; readonly change: Change<KubeObject> | "bookmark" };
type Watcher = { readonly after: number; readonly queue: Queue<Item> };

export function createReflection(kind: KindDefinition): Reflection {
  let objects = new Map<string, KubeObject>();
  let history: Item[] = [];
  /** History is whole above this revision. */
  let floor = 0;
  let revision = 0;
  const watchers = new Set<Watcher>();

  const publish = (item: Item) => {
    for (const watcher of watchers) {
      if (item.revision <= watcher.after) continue;
      if (!watcher.queue.push(item)) watcher.queue.close(compacted("the watcher is too slow"));
    }
  };
  const record = (change: Change<KubeObject>) => {
    const item = { revision: revisionOf(change.object), change };
    history.push(item);
    if (history.length > historyMax * 2) {
      const dropped = history.splice(0, historyMax);
      floor = dropped.at(-1)?.revision ?? floor;
    }
    publish(item);
  };
  const set = (change: Change<KubeObject>): Reflected => {
    const key = keyOf(change.object);
    deepFreeze(change.object);
    if (change.type === "DELETED") objects.delete(key);
    else objects.set(key, change.object);
    record(change);
    return { key, object: objects.get(key) };
  };
  /** History that does not follow from what was told: everybody begins anew. */
  const reset = (at: number) => {
    history = [];
    floor = at;
    for (const { queue } of watchers)
      queue.close(compacted("the cell's history is another one now"));
  };

  const changeTo = (next: KubeObject): Change<KubeObject> | undefined => {
    const previous = objects.get(keyOf(next));
    if (!previous) return { type: "ADDED", object: next };
    const same =
      previous.metadata.uid === next.metadata.uid && revisionOf(previous) === revisionOf(next);
    return same ? undefined : { type: "MODIFIED", object: next, previous };
  };

  const select = (options: ListOptions) => {
    const selection = selectionOf(kind, options);
    const inNamespace = (object: KubeObject) =>
      !kind.namespaced || !options.namespace || object.metadata.namespace === options.namespace;
    return {
      ...selection,
      all: false,
      matches: (object: KubeObject) => inNamespace(object) && selection.matches(object),
    };
  };

  async function* watch(options: ListOptions & { resourceVersion?: string }) {
    const selection = select(options);
    const fromStart = isFromStart(options.resourceVersion);
    const after = fromStart ? revision : Number(options.resourceVersion);
    if (!Number.isSafeInteger(after)) {
      throw new SkerryError({
        code: "invalid-resource-version",
        message: `resourceVersion: "${options.resourceVersion}" is not one`,
      });
    }
    if (after < floor) throw compacted(`changes since ${after} are not kept`);
    const queue = createQueue<Item>({ itemsMax: waitingMax, onFull: "reject" });
    const watcher = { after, queue };
    const missed = history.filter((item) => item.revision > after);
    const known = revision;
    const present = fromStart ? itemsOf(selection) : [];
    watchers.add(watcher);
    const end = () => queue.close();
    if (options.signal?.aborted) end();
    options.signal?.addEventListener("abort", end, { once: true });
    try {
      for (const object of present) yield { type: "ADDED", object } as const;
      if (fromStart) yield { type: "BOOKMARK", resourceVersion: String(after) } as const;
      for (const item of missed) {
        const event = eventOf(selection, item);
        if (event) yield event;
      }
      // Bookmarks are no history: where nothing changes any more, no further one would say so.
      if (!fromStart && known > after)
        yield { type: "BOOKMARK", resourceVersion: String(known) } as const;
      for await (const item of queue) {
        if (options.signal?.aborted) return;
        const event = eventOf(selection, item);
        if (event) yield event;
      }
    } finally {
      watchers.delete(watcher);
      options.signal?.removeEventListener("abort", end);
    }
  }

  const itemsOf = (selection: { matches(object: KubeObject): boolean }) =>
    [...objects]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, object]) => (selection.matches(object) ? [object] : []));

  return {
    kind,
    get: (key) =>
      structuredClone(objects.get(`${kind.namespaced ? (key.namespace ?? "") : ""}/${key.name}`)),
    all: () => objects.values(),
    list(options) {
      if (options.continueToken) throw compacted("a mirror answers a list as a whole");
      return { items: itemsOf(select(options)), resourceVersion: String(revision) };
    },
    watch,
    load(loaded) {
      objects = new Map(loaded.map((object) => [keyOf(object), deepFreeze(object)]));
      revision = loaded.reduce((latest, object) => Math.max(latest, revisionOf(object)), 0);
      floor = revision;
    },
    replace(next, resourceVersion) {
      const at = Number(resourceVersion);
      if (generationOf(at) < generationOf(revision)) {
        throw new SkerryError({
          code: "history-superseded",
          message: `what was told at revision ${at} is of a history that was replaced: ${revision} was seen already`,
          hint: "a server came back with an old ledger; it gives that up by itself as soon as it hears of the new one",
          retryable: true,
        });
      }
      const changes = next
        .map(changeTo)
        .filter((change) => change !== undefined)
        .sort((a, b) => revisionOf(a.object) - revisionOf(b.object));
      const kept = new Set(next.map(keyOf));
      const gone = [...objects]
        .filter(([key]) => !kept.has(key))
        .map(([, object]): Change<KubeObject> => ({
          type: "DELETED",
          object: {
            ...object,
            metadata: { ...object.metadata, resourceVersion },
          },
        }));
      const rewritten =
        at < revision || changes.some(({ object }) => revisionOf(object) <= revision);
      if (rewritten) reset(at);
      const reflected = [...changes, ...gone].map(set);
      // What a relist found between two revisions cannot be told in their order.
      if (rewritten) history = [];
      revision = at;
      publish({ revision: at, change: "bookmark" });
      return reflected;
    },
    apply(event) {
      if (event.type === "BOOKMARK") {
        const at = Number(event.resourceVersion);
        if (at <= revision) return [];
        revision = at;
        publish({ revision: at, change: "bookmark" });
        return [];
      }
      const { object } = event;
      const previous = objects.get(keyOf(object));
      const at = revisionOf(object);
      if (previous ? revisionOf(previous) >= at : event.type === "DELETED") return [];
      revision = Math.max(revision, at);
      return [
        set(
          event.type === "DELETED"
            ? { type: "DELETED", object }
            : previous
              ? { type: "MODIFIED", object, previous }
              : { type: "ADDED", object },
        ),
      ];
    },
    close() {
      for (const { queue } of watchers) queue.close();
    },
  };
}

function eventOf(
  selection: Parameters<typeof selectEvent<KubeObject>>[0],
  { change, revision }: Item,
): WatchEvent<KubeObject> | undefined {
  return change === "bookmark"
    ? { type: "BOOKMARK", resourceVersion: String(revision) }
    : selectEvent(selection, change);
}

export function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}

function revisionOf({ metadata }: KubeObject): number {
  return Number(metadata.resourceVersion ?? 0);
}

function compacted(reason: string): SkerryError {
  return new SkerryError({
    code: "compacted",
    message: `the mirror cannot go on from there: ${reason}`,
    hint: "list again and watch from there",
  });
}
