/**
 * Changes as server-sent events: `change` with the document as it is now, or `delete`; the id of an
 * event is the cursor after it, so that a client that comes back goes on where it was. A client that
 * does not read holds one page in memory, and no write.
 */
import { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpReply } from "../../runtime/http/index.ts";
import type { ChangesQuery, DocumentStore } from "../documents/store.ts";
import { createBell } from "./bell.ts";
import { whenClosed } from "./when-closed.ts";

/** Each holds a subscription and up to a page; more than this is a client that forgets to close. */
const followersMax = 256;
/** Silence that a proxy on the way would take for the end. */
const beatMs = 15_000;

export async function sendChanges(
  reply: HttpReply,
  deps: {
    store: Pick<DocumentStore, "changes" | "on">;
    clock: Clock;
    followers: number;
    follow(count: 1 | -1): void;
  },
  query: ChangesQuery,
): Promise<HttpReply> {
  if (deps.followers >= followersMax) {
    throw new SkerryError({
      code: "store-busy",
      message: `${deps.followers} readers follow changes here already`,
      hint: "close some, or follow on another node",
      retryable: true,
    });
  }
  // The first page is read before anything is answered: what is wrong is still an HTTP error then.
  const first = await deps.store.changes(query);
  const gone = new AbortController();
  deps.follow(1);
  whenClosed(reply, () => {
    deps.follow(-1);
    gone.abort();
  });
  return reply
    .type("text/event-stream")
    .header("cache-control", "no-store")
    .send(Readable.from(eventsOf(deps, query, first, gone.signal), { objectMode: false }));
}

async function* eventsOf(
  { store, clock }: { store: Pick<DocumentStore, "changes" | "on">; clock: Clock },
  { collection, limit }: ChangesQuery,
  first: Awaited<ReturnType<DocumentStore["changes"]>>,
  gone: AbortSignal,
): AsyncGenerator<string> {
  const bell = createBell();
  const unsubscribe = store.on("grown", ({ collections }) => {
    if (collections.includes(collection)) bell.ring();
  });
  gone.addEventListener("abort", bell.ring);
  // Between the first page and the subscription something may have changed.
  bell.ring();
  let beat = clock.after(beatMs, bell.ring);
  try {
    yield ": changes\n\n";
    for (let page = first; ;) {
      if (page.changes.length > 0) yield page.changes.map(eventText).join("");
      if (gone.aborted) return;
      if (!page.more) {
        await bell.heard();
        beat.cancel();
        beat = clock.after(beatMs, bell.ring);
        if (gone.aborted) return;
        yield ":\n\n";
      }
      page = await store.changes({
        collection,
        since: page.cursor,
        ...(limit === undefined ? {} : { limit }),
      });
    }
  } finally {
    beat.cancel();
    unsubscribe();
    gone.removeEventListener("abort", bell.ring);
  }
}

export function eventText(
  change: { readonly id: string; readonly cursor: string } & (
    | { readonly deleted: true }
    | { readonly deleted: false; readonly document: object }
  ),
): string {
  const data = JSON.stringify(change.deleted ? { id: change.id } : change.document);
  return `id: ${change.cursor}\nevent: ${change.deleted ? "delete" : "change"}\ndata: ${data}\n\n`;
}
