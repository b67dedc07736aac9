/**
 * Query and tail over HTTP, the same for a node's store and the hub's. Entries go out page by page as
 * the client takes them; a client that does not read holds one page in memory, and no write.
 */
import { Readable } from "node:stream";
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { GlobalStore } from "../global/store.ts";
import type { StreamStore } from "../streams/store.ts";
import { createBell } from "./bell.ts";
import { entryJson, type ShownEntry } from "./lines.ts";
import { parseEntriesQuery, type EntriesQuery } from "./query.ts";
import { readEntries, storeStatus } from "./streams-openapi.ts";
import { whenClosed } from "./when-closed.ts";

type Page = {
  readonly entries: readonly ShownEntry[];
  readonly cursor: string;
  readonly more: boolean;
};

/** What both kinds of store can do for a reader of one stream, or of all. */
type Source = {
  read(query: EntriesQuery, after: string | undefined, limit: number): Promise<Page>;
  /** Calls back after new entries. */
  onGrown(listener: () => void): () => void;
};

const pageEntries = 1000;
/** Each holds a subscription and up to a page; more than this is a client that forgets to close. */
const followersMax = 256;
/** Silence that a reader, or a proxy on the way, would take for the end. */
const beatMs = 15_000;

/** `GET /v1/streams`, `GET /v1/streams/:name/entries` of a node. */
export function createStreamRoutes(
  store: Pick<StreamStore, "read" | "status" | "on">,
  { clock }: { clock: Clock },
): Routes {
  return (app) => {
    app.get("/v1/streams", { config: { openapi: storeStatus } }, () => store.status());
    serveEntries(app, "/v1/streams/:name/entries", {
      clock,
      cell: false,
      source: (stream) => ({
        read: ({ fromMs, toMs, newest }, after, limit) =>
          store.read({ stream, ...beginning(after, newest), fromMs, toMs, limit }),
        onGrown: (listener) =>
          store.on("grown", ({ streams }) => {
            if (streams.includes(stream)) listener();
          }),
      }),
    });
  };
}

/**
 * The same routes at the hub, with `cell` as a filter and in every line; and `GET /v1/changes`, all
 * streams in the order of arrival, for whoever takes them on from here.
 */
export function createGlobalRoutes(
  store: Pick<GlobalStore, "read" | "streams" | "on">,
  { clock }: { clock: Clock },
): Routes {
  return (app) => {
    app.get<{ Querystring: { cell?: string } }>("/v1/streams", async ({ query }) => ({
      streams: await store.streams(query.cell),
    }));
    const source = (stream?: string): Source => ({
      read: ({ fromMs, toMs, cell, newest }, after, limit) =>
        store.read({ stream, cell, ...beginning(after, newest), fromMs, toMs, limit }),
      onGrown: (listener) =>
        store.on("grown", (grown) => {
          if (stream === undefined || grown.some(({ streams }) => streams.includes(stream)))
            listener();
        }),
    });
    serveEntries(app, "/v1/streams/:name/entries", { clock, cell: true, source });
    serveEntries(app, "/v1/changes", { clock, cell: true, source: () => source() });
  };
}

/** The first page may begin with the newest; every further one goes on behind a cursor. */
const beginning = (after: string | undefined, newest: number | undefined) =>
  after === undefined ? { newest } : { after };

function serveEntries(
  app: Parameters<Routes>[0],
  path: string,
  options: { clock: Clock; source: (name: string) => Source; cell: boolean },
): void {
  const { clock, source: sourceOf, cell } = options;
  let followers = 0;
  const described = { config: { openapi: readEntries } };
  app.get<{ Params: { name: string } }>(path, described, async (request, reply) => {
    const source = sourceOf(request.params.name);
    const query = parseEntriesQuery(request.query, { cell });
    // The first page is read before anything is answered: what is wrong is still an HTTP error then.
    const first = await source.read(
      query,
      query.after,
      Math.min(query.limit ?? pageEntries, pageEntries * (query.format === "json" ? 10 : 1)),
    );
    if (query.format === "json") {
      const entries = first.entries.map(entryJson).join(",");
      const rest = JSON.stringify({ cursor: first.cursor, more: first.more }).slice(1);
      return reply.type("application/json").send(`{"entries":[${entries}],${rest}`);
    }
    if (query.follow && followers >= followersMax) {
      throw new SkerryError({
        code: "store-busy",
        message: `${followers} readers follow streams here already`,
        hint: "close some, or follow on another node",
        retryable: true,
      });
    }
    const gone = new AbortController();
    if (query.follow) followers++;
    whenClosed(reply, () => {
      gone.abort();
      if (query.follow) followers--;
    });
    const lines = linesOf(source, query, first, { clock, gone: gone.signal });
    return reply.type("application/x-ndjson").send(Readable.from(lines, { objectMode: false }));
  });
}

/**
 * One chunk a page. Ends at the end of the stream, or when following, with the connection: then an empty
 * line is said at once where there is nothing else, for the head goes out with it, and after each silence,
 * of a store in which nothing comes as of one that is looked through in vain.
 */
async function* linesOf(
  source: Source,
  query: EntriesQuery,
  first: Page,
  { clock, gone }: { clock: Clock; gone: AbortSignal },
): AsyncGenerator<string> {
  let left = query.limit ?? Infinity;
  let isBeatDue = query.follow;
  let beat: Timer | undefined;
  const bell = createBell();
  const unsubscribe = source.onGrown(bell.ring);
  gone.addEventListener("abort", bell.ring);
  // Between the first page and the subscription something may have come.
  bell.ring();
  try {
    for (let page = first; ;) {
      const lines = page.entries.slice(0, left).map((entry) => `${entryJson(entry)}\n`);
      left -= lines.length;
      if (lines.length > 0 || isBeatDue) {
        yield lines.length > 0 ? lines.join("") : "\n";
        isBeatDue = false;
        beat?.cancel();
        beat = undefined;
      }
      if (left <= 0 || gone.aborted || (!page.more && !query.follow)) return;
      if (query.follow)
        beat ??= clock.after(beatMs, () => {
          isBeatDue = true;
          bell.ring();
        });
      if (!page.more) {
        await bell.heard();
        if (gone.aborted) return;
      }
      page = await source.read(query, page.cursor, Math.min(left, pageEntries));
    }
  } finally {
    beat?.cancel();
    unsubscribe();
    gone.removeEventListener("abort", bell.ring);
  }
}
