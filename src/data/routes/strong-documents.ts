/**
 * The document routes for collections with `consistency: strong`: the same requests, answered by the
 * cell's ledger. A write is `done`, `refused` (412) or `unknown` (504, which under a key may be sent
 * again); everything else changed nothing.
 */
import { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { orSilence } from "../../lib/silence.ts";
import { tokenCallerOf, type HttpReply, type HttpRequest } from "../../runtime/http/index.ts";
import type { DocumentWrite } from "../documents/store.ts";
import { beforeDeadline } from "../durability/durability.ts";
import type { Query } from "../queries/query.ts";
import type { StrongDocuments } from "../strong/documents.ts";
import type { StrongChangeSet } from "../strong/follow.ts";
import type { StrongPage, StrongQueries } from "../strong/queries.ts";
import { eventText } from "./document-changes.ts";
import { whenClosed } from "./when-closed.ts";
import { parseStrongKey, parseWriteQuery, type DocumentsQuery } from "./document-query.ts";

export interface StrongDocumentRoutes {
  readonly names: readonly string[];
  has(collection: string): boolean;
  write(
    request: HttpRequest,
    reply: HttpReply,
    writes: readonly DocumentWrite[],
  ): Promise<HttpReply>;
  read(
    request: HttpRequest,
    reply: HttpReply,
    place: { collection: string; id: string },
  ): Promise<unknown>;
  list(
    request: HttpRequest,
    reply: HttpReply,
    query: { collection: string } & DocumentsQuery,
  ): Promise<unknown>;
  query(request: HttpRequest, asked: { collection: string; query: Query }): Promise<StrongPage>;
  /** Ends who follows, so that a gateway that stops does not wait for them. */
  endStreams(): void;
}

/** Silence that a proxy on the way would take for the end. */
const beatMs = 15_000;

export function createStrongDocumentRoutes({
  strong,
  queries,
  clock,
}: {
  strong: StrongDocuments;
  queries: StrongQueries;
  clock: Clock;
}): StrongDocumentRoutes {
  const followers = new Set<AbortController>();
  return {
    get names() {
      return strong.names;
    },
    has: (collection) => strong.has(collection),

    async write(request, reply, writes) {
      const { level, timeoutMs, key } = parseWriteQuery(request);
      if (level.level === "peer" || level.level === "hub")
        throw new SkerryError({
          code: "level-impossible",
          message: "durability: a collection with consistency: strong is stored by the ledger",
          hint: "leave it out: what is done is on the disks of most servers",
        });
      const once = parseStrongKey(request, key);
      const writing = strong.write(tokenCallerOf(request), writes, once);
      const answer = (await beforeDeadline(clock, writing, timeoutMs)) ?? {
        state: "unknown",
        cause: `there was no answer within ${timeoutMs} ms`,
      };
      switch (answer.state) {
        case "done": {
          const { revision, changed, versions, warnings, isRepeated } = answer;
          const [version] = versions;
          return reply.send({
            state: "done",
            consistency: "strong",
            reached: "ledger",
            revision,
            changed,
            ...(writes.length === 1
              ? version === undefined
                ? {}
                : { version }
              : { versions: versions.map((each) => each ?? null) }),
            ...(warnings.length > 0 ? { warnings } : {}),
            ...(isRepeated ? { repeated: true } : {}),
          });
        }
        case "refused":
          return reply.code(412).send({
            state: "refused",
            current: answer.current ?? null,
            error: {
              code: "condition-failed",
              message: answer.message,
              hint: "nothing was written; current is what stands there: decide anew from it",
              retryable: false,
            },
          });
        case "unknown":
          return reply.code(504).send({
            state: "unknown",
            error: {
              code: "outcome-unknown",
              message: `this write may have happened, or may still happen: ${answer.cause}`,
              hint: once
                ? "send the same again, under the same key, within two minutes: it takes effect once"
                : "read and compare before anything is sent again; with an idempotency-key it may be",
              retryable: once !== undefined,
            },
          });
      }
    },

    async read(request, reply, place) {
      const document = await strong.read(tokenCallerOf(request), place);
      if (document) void reply.header("etag", `"${document.version}"`);
      return document;
    },

    async list(request, reply, { collection, ...query }) {
      const caller = tokenCallerOf(request);
      if (query.read === "list") {
        const { conflicted, ...page } = query.page;
        return conflicted ? { documents: [] } : strong.list(caller, { collection, ...page });
      }
      if (!query.follow)
        throw new SkerryError({
          code: "invalid-query",
          message: "since: a collection with consistency: strong has no log to read in pages",
          hint: "add follow=1: what changed since then comes first",
        });
      const gone = new AbortController();
      followers.add(gone);
      whenClosed(reply, () => {
        followers.delete(gone);
        gone.abort();
      });
      const { since } = query.page;
      const from = { collection, ...(since === undefined ? {} : { since }) };
      const followed = strong.follow(caller, from, gone.signal);
      const sets = followed[Symbol.asyncIterator]();
      // What is wrong with it is known with the first answer, and still an HTTP error then.
      const first = await sets.next();
      return reply
        .type("text/event-stream")
        .header("cache-control", "no-store")
        .send(Readable.from(eventsOf(clock, first, sets), { objectMode: false }));
    },

    query: (request, asked) => queries.documents(tokenCallerOf(request), asked),

    endStreams() {
      for (const gone of followers) gone.abort();
    },
  };
}

async function* eventsOf(
  clock: Clock,
  first: IteratorResult<StrongChangeSet>,
  sets: AsyncIterator<StrongChangeSet>,
): AsyncGenerator<string> {
  yield ": changes\n\n";
  const beat = ":\n\n";
  try {
    let next = Promise.resolve(first);
    for (;;) {
      const result = await orSilence(clock, next, beatMs);
      if (result === "silence") {
        yield beat;
        continue;
      }
      if (result.done) return;
      // What says only how far the ledger is breaks the silence here, and so it has to there.
      yield result.value.length > 0 ? result.value.map(eventText).join("") : beat;
      next = sets.next();
    }
  } catch (error) {
    // The client comes back with its cursor, and is told why if that is for good.
    if (!(error instanceof SkerryError)) throw error;
  } finally {
    await sets.return?.();
  }
}
