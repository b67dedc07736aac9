/**
 * Live queries as server-sent events: `result` with all rows, then `changes`; the id of an event names
 * the place behind it, and a client that comes back with the last one it has (`last-event-id`) gets
 * `resumed` and what it missed, or `reset` with all rows. `end` says why there is no more. A client
 * that does not read holds one event in memory, and nobody up.
 */
import { Readable } from "node:stream";
import { callerOf, type HttpReply, type HttpRequest } from "../../runtime/http/index.ts";
import type { Json, JsonObject } from "../documents/json.ts";
import { checkQuery, isLiveQuery } from "../queries/check.ts";
import type { LiveQueries } from "../queries/live-queries.ts";
import type { DocumentsRequest } from "../queries/query.ts";
import type { LiveEvent, LiveReader } from "../queries/subscription.ts";
import { textsOf } from "./document-query.ts";

export async function sendLive(
  live: Pick<LiveQueries, "open">,
  request: HttpRequest,
  reply: HttpReply,
  asked: DocumentsRequest,
): Promise<HttpReply> {
  const reader = await openLive(live, request, asked);
  if (reply.raw.closed) reader.leave();
  else reply.raw.once("close", () => reader.leave());
  return reply
    .type("text/event-stream")
    .header("cache-control", "no-store")
    .send(Readable.from(eventsOf(reader), { objectMode: false }));
}

/** What is wrong is told before anything is answered. */
export const openLive = (
  live: Pick<LiveQueries, "open">,
  request: HttpRequest,
  asked: DocumentsRequest,
): Promise<LiveReader> => {
  const lastEventId = [request.headers["last-event-id"]].flat()[0];
  return live.open(asked, {
    caller: callerOf(request),
    ...(lastEventId ? { lastEventId } : {}),
  });
};

async function* eventsOf(reader: LiveReader): AsyncGenerator<string> {
  for (let event = await reader.next(); event; event = await reader.next()) yield eventText(event);
}

const eventText = ({ event, id, data }: LiveEvent): string =>
  event === "beat" ? ":\n\n" : `id: ${id}\nevent: ${event}\ndata: ${data}\n\n`;

/** `?where=…&sort=-total,name&fields=…&limit=…`. Throws `invalid-query`. */
export function parseLiveQuery(
  { collection }: { collection: string },
  given: unknown,
): Omit<DocumentsRequest, "isDeclared"> {
  const text = textsOf(given, ["where", "sort", "fields", "limit", "timeoutMs"]);
  const asked: Record<string, Json> = { live: true };
  const where = text("where");
  if (where !== undefined) asked["where"] = where;
  for (const name of ["sort", "fields"]) {
    const list = text(name);
    if (list !== undefined) asked[name] = list.split(",").map((field) => field.trim());
  }
  for (const name of ["limit", "timeoutMs"]) {
    const count = text(name);
    if (count !== undefined) asked[name] = /^\d{1,9}$/.test(count) ? Number(count) : count;
  }
  const query = checkQuery(asked as JsonObject);
  isLiveQuery(asked, query);
  return { collection, query };
}
