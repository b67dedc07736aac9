/**
 * Query and tail over HTTP, the same for a node's store and the hub's. Entries go out page by page as
 * the client takes them; a client that does not read holds one page in memory, and no write.
 */
import { Readable } from "node:stream";
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { GlobalStore } from "../global/store.ts";
import type { StreamStore } from "../streams/store.ts";
import { entryJson, type ShownEntry } from "./lines.ts";
import { parseEntriesQuery, type EntriesQuery } from "./query.ts";

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

/** `GET /v1/streams`, `GET /v1/streams/:name/entries` of a node. */
export function createStreamRoutes(store: Pick<StreamStore, "read" | "status" | "on">): Routes {
  return (app) => {
    app.get("/v1/streams", () => store.status());
    serveEntries(app, "/v1/streams/:name/entries", {
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
export function createGlobalRoutes(store: Pick<GlobalStore, "read" | "streams" | "on">): Routes {
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
    serveEntries(app, "/v1/streams/:name/entries", { cell: true, source });
    serveEntries(app, "/v1/changes", { cell: true, source: () => source() });
  };
}

/** The first page may begin with the newest; every further one goes on behind a cursor. */
const beginning = (after: string | undefined, newest: number | undefined) =>
  after === undefined ? { newest } : { after };

function serveEntries(
  app: Parameters<Routes>[0],
  path: string,
  { source: sourceOf, cell }: { source: (name: string) => Source; cell: boolean },
): void {
  let followers = 0;
  app.get<{ Params: { name: string } }>(path, async (request, reply) => {
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
    reply.raw.once("close", () => gone.abort());
    if (query.follow) {
      followers++;
      reply.raw.once("close", () => followers--);
    }
    return reply
      .type("application/x-ndjson")
      .send(Readable.from(linesOf(source, query, first, gone.signal), { objectMode: false }));
  });
}

/** One chunk a page. Ends at the end of the stream, or when following, with the connection. */
async function* linesOf(
  source: Source,
  query: EntriesQuery,
  first: Page,
  gone: AbortSignal,
): AsyncGenerator<string> {
  let left = query.limit ?? Infinity;
  let grown = true;
  let wake: (() => void) | undefined;
  const notice = () => {
    grown = true;
    wake?.();
  };
  const unsubscribe = source.onGrown(notice);
  gone.addEventListener("abort", notice);
  try {
    for (let page = first; ;) {
      const lines = page.entries.slice(0, left).map((entry) => `${entryJson(entry)}\n`);
      left -= lines.length;
      if (lines.length > 0) yield lines.join("");
      if (left <= 0 || gone.aborted || (!page.more && !query.follow)) return;
      if (!page.more && !grown) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      grown = false;
      page = await source.read(query, page.cursor, Math.min(left, pageEntries));
    }
  } finally {
    unsubscribe();
    gone.removeEventListener("abort", notice);
  }
}
