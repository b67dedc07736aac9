/**
 * Documents towards the hub: the same store and forward as for streams (`hub-sync.ts`), where what the
 * hub has of an origin is what the collection that is furthest behind has. Collections at the same
 * position go in one batch; one that begins anew (a wider `egress`) is brought up to the others first,
 * or, when the log no longer goes back that far, gets the documents as they are (`documents-fill.ts`).
 * Collections of another priority go apart from these, on a track of their own (`tracks.ts`).
 */
import type { EgressPolicy } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { createSignals } from "../../lib/signals.ts";
import { shapeOf } from "../documents/leaving.ts";
import type { CollectionDeclaration } from "../documents/store.ts";
import type { FeedStates, FeedWish } from "../global/documents.ts";
import { hubOriginPrefix } from "../global/published.ts";
import type { DocumentEgress, DocumentHub, Hub } from "../ports.ts";
import type { Vector } from "../streams/store.ts";
import { createFilling } from "./documents-fill.ts";
import { createHubSync, sizeOf, type HubSyncOptions } from "./hub-sync.ts";
import { laneName, originOfLog } from "../tables/lanes.ts";
import type { Proof, ReplicatedStore } from "./replicated.ts";
import { onTracks, parseTrack } from "./tracks.ts";
import { withoutLogs } from "./vectors.ts";

/** An operation costs the hub more than an entry. */
const operationsBytesMax = 64 * 1024;

export interface DocumentsSync<C> {
  /** What leaves from now on. */
  declare(collections: readonly CollectionDeclaration[]): void;
  /** Whether anything of a collection may leave the cell. */
  leaves(collection: string): boolean;
  /** Sends over this hub connection until it closes; a newer one replaces it. */
  attach(hub: DocumentHub<C>, closed: AbortSignal): void;
  /** Whether anything leaves. */
  readonly isFed: boolean;
  /**
   * What the hub has, durably, of every collection that leaves; where these have priorities, of each
   * besides, under the name of a lane (`tables/lanes.ts`).
   */
  vector(): Vector;
  on(event: "vector", listener: () => void): () => void;
  /** Operations of all origins, as far as this store has them, that the hub has not heard of. */
  backlog(): Promise<number>;
  /** A hub connection stands now. */
  readonly connected: boolean;
  /** What the hub is asked of what leaves. */
  wishes(): Readonly<Record<string, FeedWish>>;
  /** What it said of these, as far as they are as here. */
  states(wishes: Readonly<Record<string, FeedWish>>): FeedStates;
  /** What it said to another node; nothing while it can be asked. */
  overhear(states: FeedStates): Promise<void>;
  stop(): void;
}

type Leaving = FeedWish & {
  readonly name: string;
  priority: number;
  /** Of them, those that the hub may have. */
  readonly indexes: readonly string[];
  /** As the hub last said. */
  tops: Record<string, number>;
  superseded: boolean;
  /** Sent as documents now: operations from there on go behind these. */
  filling: boolean;
};

/** Times what is read at a time otherwise: the store takes no writes meanwhile. */
const widthMax = 8;

export function createDocumentsSync<C>(
  deps: {
    readonly store: Pick<ReplicatedStore, "vector" | "observe" | "on" | "snapshots">;
    readonly egress: DocumentEgress<C>;
    /** Whether all of a field, by JSON pointer, is let out: of other fields the hub is told no name. */
    readonly lets: (policy: EgressPolicy) => (path: string) => boolean;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  },
  options: HubSyncOptions,
): DocumentsSync<C> {
  const { store, egress, clock, random, log } = deps;
  let leaving: readonly Leaving[] = [];
  /** Own logs that were given up, since the hub or a peer had other operations in them than this store. */
  let disputed: readonly string[] = [];
  const observe = async (tops: Vector, proof?: Proof) => {
    const found = await store.observe(tops, proof);
    disputed = found.disputed ?? disputed;
    return found.ask;
  };
  let attached: { readonly hub: DocumentHub<C>; readonly closed: AbortSignal } | undefined;
  const sent = () => leaving.filter(({ superseded, filling }) => !superseded && !filling);
  const priorities = () => new Set(sent().map(({ priority }) => priority));
  const batchBytesMax = options.batchBytesMax ?? operationsBytesMax;
  const fillAfterMs = options.foreignLagMs ?? 5000;

  /** By origin, what all of these have. */
  const least = (feeds: readonly Leaving[]): Record<string, number> => {
    const origins = new Set(feeds.flatMap(({ tops }) => Object.keys(tops)));
    return Object.fromEntries(
      [...origins].map((origin) => [
        origin,
        Math.min(...feeds.map(({ tops }) => tops[origin] ?? 0)),
      ]),
    );
  };
  /** Of each track, under the names that its logs have there. */
  const leastOfTracks = (): Record<string, number> =>
    Object.fromEntries(
      [...priorities()].flatMap((priority) => {
        const tops = least(sent().filter((feed) => feed.priority === priority));
        return Object.entries(onTracks(tops, [priority]));
      }),
    );
  let told: Vector | undefined;
  const tell = (): Vector => {
    const lanes = new Set(leaving.map(({ priority }) => priority)).size > 1 ? leaving : [];
    const all = {
      ...least(leaving),
      ...Object.fromEntries(
        lanes.flatMap(({ name, tops }) =>
          Object.entries(tops).map(([origin, top]) => [laneName(origin, name), top]),
        ),
      ),
    };
    return disputed.length === 0
      ? all
      : withoutLogs(all, (log) => disputed.includes(originOfLog(log)));
  };
  const learn = (
    states: FeedStates,
    asked: readonly Leaving[],
    take: (feed: Leaving, tops: Vector) => void,
  ) => {
    told = undefined;
    for (const feed of asked) {
      const state = Object.hasOwn(states, feed.name) ? states[feed.name] : undefined;
      if (!state) continue;
      if (state.state === "open") take(feed, state.tops);
      else if (!feed.superseded) {
        feed.superseded = true;
        log.info("the hub knows a later egress of this collection; nothing is sent by this one", {
          collection: feed.name,
        });
      }
    }
  };

  const overheard = createSignals<{ vector: undefined }>({
    onListenerError: (error) => log.error("a listener of the documents sync failed", { error }),
  });
  /** Further than it was known to be; of this store's own log no further than that is (D7). */
  const raise = async (feed: Leaving, tops: Vector) => {
    const ask = await observe(tops);
    if (sync.connected) return;
    for (const [origin, top] of Object.entries(tops))
      if (origin !== ask?.origin && top > (feed.tops[origin] ?? 0)) feed.tops[origin] = top;
  };

  let indexesTold: { readonly hub: DocumentHub<C>; readonly text: string } | undefined;
  const tellIndexes = async (hub: DocumentHub<C>, signal: AbortSignal) => {
    const paths = Object.fromEntries(leaving.map(({ name, indexes }) => [name, indexes]));
    const text = JSON.stringify(paths);
    if (indexesTold?.hub === hub && indexesTold.text === text) return;
    try {
      await hub.index(paths, { signal });
    } catch (error) {
      if (signal.aborted) return;
      // Documents go on without; said again with the next question for what the hub has.
      if (!(error instanceof SkerryError) || error.code !== "unknown-method")
        return log.warn("the hub was not told of indexes; its queries look at all documents", {
          error,
        });
      // A hub of an earlier version: it has none.
    }
    indexesTold = { hub, text };
  };

  const hubOf = (hub: DocumentHub<C>): Hub<C> => ({
    async push(bytes, options) {
      const asked = leaving;
      learn(await hub.push(bytes, options), asked, (feed, tops) => {
        for (const [origin, top] of Object.entries(tops))
          feed.tops[origin] = Math.max(feed.tops[origin] ?? 0, top);
      });
      return leastOfTracks();
    },
    async vector({ signal }) {
      const asked = leaving;
      if (asked.length === 0) return store.vector();
      const states = await hub.feeds(wishesOf(asked), { signal });
      for (const state of Object.values(states)) {
        if (state?.state !== "open") continue;
        const ask = await observe(state.tops);
        if (!ask) continue;
        const same = Math.max(0, ...asked.map(({ tops }) => tops[ask.origin] ?? 0));
        await observe(state.tops, { state: "told", same });
      }
      learn(states, asked, (feed, tops) => {
        feed.tops = { ...tops };
        feed.superseded = false;
      });
      await tellIndexes(hub, signal);
      // Nothing is to be sent, as if the hub had it all.
      return sent().length === 0 ? store.vector() : leastOfTracks();
    },
  });

  /** By track: how much more of a log is read at a time, while nothing in it is for the hub. */
  const widths = new Map<string, number>();
  const sync = createHubSync<C>(
    {
      store: {
        vector: async () => onTracks(await store.vector(), priorities()),
        on: (event, listener) =>
          store.on(event, ({ vector }) => listener({ vector: onTracks(vector, priorities()) })),
      },
      egress: {
        async clear({ origin: name, from, bytesMax = batchBytesMax }) {
          const { origin, priority } = parseTrack(name);
          const onTrack = sent().filter((feed) => feed.priority === priority);
          const behind = onTrack.filter(({ tops }) => (tops[origin] ?? 0) < from);
          if (behind.length === 0) return undefined;
          const before = leaving;
          const { floors } = (await store.snapshots?.place()) ?? { floors: {} };
          if (from <= ((floors as Vector)[origin] ?? 0)) {
            if (before === leaving) for (const feed of behind) startFilling(feed);
            return undefined;
          }
          const ahead = onTrack.flatMap(({ tops }) => {
            const top = tops[origin] ?? 0;
            return top < from ? [] : [top];
          });
          const width = widths.get(name) ?? 1;
          const read = (size: number) =>
            egress.clear({
              origin,
              from,
              bytesMax: size,
              ...(ahead.length > 0 ? { to: Math.min(...ahead) } : {}),
              collections: behind.map((feed) => feed.name),
            });
          let batch = await read(batchBytesMax * width);
          // An alarm behind a long backlog is not to wait for as many round trips as that has pieces.
          if (batch?.entries === 0) widths.set(name, Math.min(widthMax, width * 2));
          else widths.delete(name);
          const isTooMuch = (size: number) =>
            batch !== undefined && batch.entries > 0 && sizeOf(batch.bytes) > size;
          if (width > 1 && isTooMuch(0)) batch = await read(batchBytesMax);
          // A budget bounds what is sent, not what is looked through for it.
          if (bytesMax < batchBytesMax && isTooMuch(bytesMax)) batch = await read(bytesMax);
          return batch && { ...batch, origin: name };
        },
      },
      clock,
      random,
      log,
    },
    // Of the hub's own logs only the positions go back, for what was written in the cell knew of them.
    {
      isShared: (origin) => origin.startsWith(hubOriginPrefix),
      priorityOf: (name) => parseTrack(name).priority,
      ...options,
      batchBytesMax,
    },
  );
  const fillings = createFilling<C>({ egress, clock, random, log }, { afterMs: fillAfterMs });
  /** Others go on meanwhile; afterwards this one goes on by operations. */
  const startFilling = (feed: Leaving) => {
    const now = attached;
    if (feed.filling || !now) return;
    feed.filling = true;
    const { name, shape, kinds, revision } = feed;
    void fillings
      .fill(now.hub, { name, wish: { shape, kinds, revision } }, now.closed)
      .then((answer) => {
        told = undefined;
        if (answer?.state === "open") feed.tops = { ...answer.tops };
        else if (answer?.state === "superseded") feed.superseded = true;
      })
      .finally(() => {
        feed.filling = false;
        restart();
      });
    restart();
  };
  const restart = () => {
    if (attached && !attached.closed.aborted) sync.attach(hubOf(attached.hub), attached.closed);
  };

  return {
    declare(collections) {
      const before = new Map(leaving.map((feed) => [feed.name, feed]));
      told = undefined;
      const moved = new Set<Leaving>();
      const next = collections.flatMap((collection): Leaving[] => {
        const { name, egress: wanted, priority = 0 } = collection;
        if (!wanted) return [];
        const wish = { ...shapeOf(wanted), revision: wanted.revision };
        const known = before.get(name);
        if (known && known.shape === wish.shape && known.revision === wish.revision) {
          if (known.priority !== priority) moved.add(known);
          known.priority = priority;
          return [known];
        }
        const indexes = (collection.indexes ?? []).filter(deps.lets(wanted.policy));
        const begun = { tops: {}, superseded: false, filling: false };
        return [{ name, priority, indexes, ...wish, ...begun }];
      });
      const isSame =
        moved.size === 0 &&
        next.length === leaving.length &&
        next.every((feed) => leaving.includes(feed));
      leaving = next;
      if (!isSame) restart();
    },
    leaves: (collection) => leaving.some(({ name }) => name === collection),
    attach(hub, closed) {
      attached = { hub, closed };
      restart();
    },
    get isFed() {
      return leaving.length > 0;
    },
    vector: () => (told ??= tell()),
    on(event, listener) {
      const ends = [sync.on(event, listener), overheard.on(event, listener)];
      return () => {
        for (const end of ends) end();
      };
    },
    get connected() {
      return sync.connected;
    },
    wishes: () => wishesOf(leaving),
    states(wishes) {
      const known = leaving.filter(({ name, shape, revision, superseded }) => {
        const wish = Object.hasOwn(wishes, name) ? wishes[name] : undefined;
        return !superseded && wish?.shape === shape && wish.revision === revision;
      });
      const undisputed = (tops: Vector) => withoutLogs(tops, (log) => disputed.includes(log));
      return Object.fromEntries(
        known.map(({ name, tops }) => [name, { state: "open", tops: undisputed(tops) }]),
      );
    },
    async overhear(states) {
      for (const feed of leaving) {
        const state = Object.hasOwn(states, feed.name) ? states[feed.name] : undefined;
        if (state?.state === "open") await raise(feed, state.tops);
      }
      told = undefined;
      overheard.emit("vector", undefined);
    },
    async backlog() {
      if (leaving.length === 0) return 0;
      const has = least(leaving);
      return Object.entries(await store.vector()).reduce(
        (sum, [origin, top]) => sum + Math.max(0, top - (has[origin] ?? 0)),
        0,
      );
    },
    stop: () => sync.stop(),
  };
}

const wishesOf = (feeds: readonly Leaving[]): Record<string, FeedWish> =>
  Object.fromEntries(
    feeds.map(({ name, shape, kinds, revision }) => [name, { shape, kinds, revision }]),
  );
