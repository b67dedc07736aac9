/**
 * Documents towards the hub: the same store and forward as for streams (`hub-sync.ts`), where what the
 * hub has of an origin is what the collection that is furthest behind has. Collections at the same
 * position go in one batch; one that begins anew (a wider `egress`) is brought up to the others first,
 * or, when the log no longer goes back that far, gets the documents as they are (`documents-fill.ts`).
 */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { shapeOf } from "../documents/leaving.ts";
import type { CollectionDeclaration } from "../documents/store.ts";
import type { FeedStates, FeedWish } from "../global/documents.ts";
import { hubOriginPrefix } from "../global/published.ts";
import type { DocumentEgress, DocumentHub, Hub } from "../ports.ts";
import type { Vector } from "../streams/store.ts";
import { createFilling } from "./documents-fill.ts";
import { createHubSync, type HubSyncOptions } from "./hub-sync.ts";
import type { ReplicatedStore } from "./replicated.ts";

export interface DocumentsSync<C> {
  /** What leaves from now on. */
  declare(collections: readonly CollectionDeclaration[]): void;
  /** Whether anything of a collection may leave the cell. */
  leaves(collection: string): boolean;
  /** Sends over this hub connection until it closes; a newer one replaces it. */
  attach(hub: DocumentHub<C>, closed: AbortSignal): void;
  /** Whether anything leaves. */
  readonly isFed: boolean;
  /** What the hub has, durably, of every collection that leaves. */
  vector(): Vector;
  on(event: "vector", listener: () => void): () => void;
  /** Operations of all origins, as far as this store has them, that the hub has not heard of. */
  backlog(): Promise<number>;
  stop(): void;
}

type Leaving = FeedWish & {
  readonly name: string;
  /** As the hub last said. */
  tops: Record<string, number>;
  superseded: boolean;
  /** Sent as documents now: operations from there on go behind these. */
  filling: boolean;
};

export function createDocumentsSync<C>(
  deps: {
    readonly store: Pick<ReplicatedStore, "vector" | "observe" | "on" | "snapshots">;
    readonly egress: DocumentEgress<C>;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  },
  options: HubSyncOptions,
): DocumentsSync<C> {
  const { store, egress, clock, random, log } = deps;
  let leaving: readonly Leaving[] = [];
  let attached: { readonly hub: DocumentHub<C>; readonly closed: AbortSignal } | undefined;
  const sent = () => leaving.filter(({ superseded, filling }) => !superseded && !filling);
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
  const learn = (
    states: FeedStates,
    asked: readonly Leaving[],
    take: (feed: Leaving, tops: Vector) => void,
  ) => {
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

  const hubOf = (hub: DocumentHub<C>): Hub<C> => ({
    async push(bytes, { signal }) {
      const asked = leaving;
      learn(await hub.push(bytes, { signal }), asked, (feed, tops) => {
        for (const [origin, top] of Object.entries(tops))
          feed.tops[origin] = Math.max(feed.tops[origin] ?? 0, top);
      });
      return least(sent());
    },
    async vector({ signal }) {
      const asked = leaving;
      const wishes = Object.fromEntries(
        asked.map(({ name, shape, kinds, revision }) => [name, { shape, kinds, revision }]),
      );
      if (asked.length === 0) return store.vector();
      learn(await hub.feeds(wishes, { signal }), asked, (feed, tops) => {
        feed.tops = { ...tops };
        feed.superseded = false;
      });
      for (const { tops } of asked) await store.observe(tops);
      // Nothing is to be sent, as if the hub had it all.
      return sent().length === 0 ? store.vector() : least(sent());
    },
  });

  const sync = createHubSync<C>(
    {
      store: { vector: () => store.vector(), on: (event, listener) => store.on(event, listener) },
      egress: {
        async clear(query) {
          const { origin, from } = query;
          const behind = sent().filter(({ tops }) => (tops[origin] ?? 0) < from);
          if (behind.length === 0) return undefined;
          const before = leaving;
          const { floors } = (await store.snapshots?.place()) ?? { floors: {} };
          if (from <= ((floors as Vector)[origin] ?? 0)) {
            if (before === leaving) for (const feed of behind) startFilling(feed);
            return undefined;
          }
          const ahead = sent().flatMap(({ tops }) => {
            const top = tops[origin] ?? 0;
            return top < from ? [] : [top];
          });
          return egress.clear({
            ...query,
            ...(ahead.length > 0 ? { to: Math.min(...ahead) } : {}),
            collections: behind.map(({ name }) => name),
          });
        },
      },
      clock,
      random,
      log,
    },
    // Of the hub's own logs only the positions go back, for what was written in the cell knew of them.
    { isShared: (origin) => origin.startsWith(hubOriginPrefix), ...options },
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
      const next = collections.flatMap(({ name, egress: wanted }): Leaving[] => {
        if (!wanted) return [];
        const wish = { ...shapeOf(wanted), revision: wanted.revision };
        const known = before.get(name);
        if (known && known.shape === wish.shape && known.revision === wish.revision) return [known];
        return [{ name, ...wish, tops: {}, superseded: false, filling: false }];
      });
      const isSame = next.length === leaving.length && next.every((feed) => leaving.includes(feed));
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
    vector: () => least(leaving),
    on: (event, listener) => sync.on(event, listener),
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
