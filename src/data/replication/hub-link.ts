/** Both ends of the link between a cell's node and the hub, in the words of `transport`. */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Link, Peer, Router } from "../../transport/index.ts";
import type { GlobalDocumentStore } from "../global/documents.ts";
import type { GlobalStore } from "../global/store.ts";
import type { DocumentHub, Hub } from "../ports.ts";
import { copyFromGlobal } from "./hub-copies.ts";
import {
  decodeCopyQuery,
  decodeFeedStates,
  decodeFillAnswer,
  decodeIndexes,
  decodePushed,
  decodeVector,
  decodeWanted,
  decodeWishes,
  encodeJson,
} from "./messages.ts";

/** How long a node's question is kept open for an answer to come. */
const pullWaitMs = 10_000;

/** The hub as a node sees it. `C` is what the gate makes: the root binds it, nothing else is sent. */
export function connectHub<C extends Uint8Array>(link: Link): Hub<C> {
  return {
    async push(bytes, { signal, isUrgent = false }) {
      const priority = isUrgent ? 1 : 2;
      const pushed = decodePushed(await link.request("hub.push", bytes, { signal, priority }));
      return { [pushed.origin]: pushed.top };
    },
    async vector({ signal }) {
      return decodeVector(await link.request("hub.vector", new Uint8Array(), { signal }));
    },
  };
}

/** The hub as a node's documents see it. */
export function connectDocumentHub<C extends Uint8Array>(link: Link): DocumentHub<C> {
  return {
    async push(bytes, { signal, isUrgent = false }) {
      const options = { signal, priority: isUrgent ? 1 : 2 } as const;
      return decodeFeedStates(await link.request("hub.documents.push", bytes, options));
    },
    async feeds(wishes, { signal }) {
      const answer = await link.request("hub.documents.feeds", encodeJson(wishes), { signal });
      return decodeFeedStates(answer);
    },
    async index(paths, { signal }) {
      await link.request("hub.documents.index", encodeJson(paths), { signal });
    },
    async fill(bytes, { signal }) {
      const options = { signal, priority: 1, timeoutMs: 3 * pullWaitMs } as const;
      return decodeFillAnswer(await link.request("hub.documents.fill", bytes, options));
    },
    pull: (query, { signal }) =>
      link.request("hub.documents.pull", encodeJson(query), {
        signal,
        priority: 0,
        timeoutMs: 3 * pullWaitMs,
      }),
  };
}

/**
 * At the hub: answers `hub.push`, `hub.vector` and `hub.copy`. A cell speaks for itself only: `cellOf` names the
 * cell of a peer from its verified identity, undefined when it is none.
 */
export function registerGlobalStore(
  router: Router,
  store: Pick<GlobalStore, "ingest" | "vector" | "read">,
  cellOf: (peer: Peer) => string | undefined,
): void {
  router.handle("hub.push", async ({ peer, body }) =>
    encodeJson(await store.ingest(requireCell(peer, cellOf), body)),
  );
  router.handle("hub.vector", async ({ peer }) =>
    encodeJson(await store.vector(requireCell(peer, cellOf))),
  );
  router.handle("hub.copy", ({ peer, body }) =>
    copyFromGlobal(store, requireCell(peer, cellOf), decodeCopyQuery(body)),
  );
}

/**
 * The same for documents: `hub.documents.push`, `hub.documents.fill`, `hub.documents.feeds`, `hub.documents.index`,
 * and `hub.documents.pull`, which is answered when there is something, or after a while.
 */
export function registerGlobalDocuments(
  router: Router,
  deps: {
    store: Pick<GlobalDocumentStore, "ingest" | "fill" | "feeds" | "pull" | "on"> &
      Partial<Pick<GlobalDocumentStore, "index">>;
    clock: Clock;
  },
  cellOf: (peer: Peer) => string | undefined,
): void {
  const { store, clock } = deps;
  router.handle("hub.documents.pull", async ({ peer, body, signal }) => {
    const query = { cell: requireCell(peer, cellOf), ...decodeWanted(body) };
    // Before the look, so that nothing is missed that is published after it.
    const published = Promise.withResolvers<void>();
    const unsubscribe = store.on("published", () => published.resolve());
    const timer = clock.after(pullWaitMs, () => published.resolve());
    const end = () => published.resolve();
    signal.addEventListener("abort", end);
    try {
      const now = await store.pull(query);
      if (now) return now;
      await published.promise;
      return (await store.pull(query)) ?? new Uint8Array();
    } finally {
      unsubscribe();
      timer.cancel();
      signal.removeEventListener("abort", end);
    }
  });
  router.handle("hub.documents.push", async ({ peer, body }) =>
    encodeJson(await store.ingest(requireCell(peer, cellOf), body)),
  );
  router.handle("hub.documents.fill", async ({ peer, body }) =>
    encodeJson(await store.fill(requireCell(peer, cellOf), body)),
  );
  const { index } = store;
  if (index)
    router.handle("hub.documents.index", async ({ peer, body }) => {
      await index(requireCell(peer, cellOf), decodeIndexes(body));
      return new Uint8Array();
    });
  router.handle("hub.documents.feeds", async ({ peer, body }) =>
    encodeJson(await store.feeds(requireCell(peer, cellOf), decodeWishes(body))),
  );
}

function requireCell(peer: Peer, cellOf: (peer: Peer) => string | undefined): string {
  const cell = cellOf(peer);
  if (cell !== undefined) return cell;
  throw new SkerryError({
    code: "forbidden",
    message: `${peer.id} is not a node of an enrolled cell`,
    hint: "enrol the cell at this hub first",
  });
}
