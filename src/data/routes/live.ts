/**
 * Live queries as server-sent events, or each event as a message of a WebSocket: `result` with all rows, then `changes`; the id of an event names
 * the place behind it, and a client that comes back with the last one it has (`last-event-id`) gets
 * `resumed` and what it missed, or `reset` with all rows. `end` says why there is no more. A client
 * that does not read holds one event in memory, and nobody up.
 */
import { Readable } from "node:stream";
import {
  acceptWebSocket,
  callerOf,
  isUpgrade,
  type HttpReply,
  type HttpRequest,
  type WebSocketConnection,
} from "../../runtime/http/index.ts";
import type { Json, JsonObject } from "../documents/json.ts";
import { checkQuery, isLiveQuery } from "../queries/check.ts";
import type { LiveQueries } from "../queries/live-queries.ts";
import type { DocumentsRequest } from "../queries/query.ts";
import type { LiveEvent, LiveReader } from "../queries/subscription.ts";
import { textsOf } from "./document-query.ts";
import { whenClosed } from "./when-closed.ts";

/** `lastEventId`: besides the header, which a WebSocket cannot send. */
export async function sendLive(
  live: Pick<LiveQueries, "open">,
  request: HttpRequest,
  reply: HttpReply,
  { lastEventId = [request.headers["last-event-id"]].flat()[0], ...asked }: LiveAsked,
): Promise<HttpReply> {
  // What is wrong is told before anything is answered.
  const reader = await live.open(asked, {
    caller: callerOf(request),
    ...(lastEventId ? { lastEventId } : {}),
  });
  if (isUpgrade(request)) return sendMessages(reader, request, reply);
  whenClosed(reply, () => reader.leave());
  return reply
    .type("text/event-stream")
    .header("cache-control", "no-store")
    .send(Readable.from(eventsOf(reader), { objectMode: false }));
}

export type LiveAsked = DocumentsRequest & { readonly lastEventId?: string };

async function sendMessages(
  reader: LiveReader,
  request: HttpRequest,
  reply: HttpReply,
): Promise<HttpReply> {
  try {
    const connection = await acceptWebSocket(request, reply, { protocol: "skerry.live" });
    void connection.closed.then(() => reader.leave());
    void passOn(reader, connection);
    return reply;
  } catch (error) {
    reader.leave();
    throw error;
  }
}

/** The next event is asked for when the last one has left this process. */
async function passOn(reader: LiveReader, connection: WebSocketConnection): Promise<void> {
  for (let event = await reader.next(); event; event = await reader.next()) {
    if (event.event === "beat") connection.ping();
    else if (!(await connection.send(messageText(event)))) return;
  }
  connection.close(1001, "no more here");
}

const messageText = ({ event, id, data }: LiveEvent): string => {
  const fields = data.slice(1);
  return `${JSON.stringify({ event, id }).slice(0, -1)}${fields === "}" ? "" : ","}${fields}`;
};

async function* eventsOf(reader: LiveReader): AsyncGenerator<string> {
  for (let event = await reader.next(); event; event = await reader.next()) yield eventText(event);
}

const eventText = ({ event, id, data }: LiveEvent): string =>
  event === "beat" ? ":\n\n" : `id: ${id}\nevent: ${event}\ndata: ${data}\n\n`;

/** `?where=…&sort=-total,name&fields=…&limit=…&lastEventId=…`. Throws `invalid-query`. */
export function parseLiveQuery(
  { collection }: { collection: string },
  given: unknown,
): Omit<LiveAsked, "isDeclared"> {
  const text = textsOf(given, ["where", "sort", "fields", "limit", "timeoutMs", "lastEventId"]);
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
  const lastEventId = text("lastEventId");
  return { collection, query, ...(lastEventId ? { lastEventId } : {}) };
}
