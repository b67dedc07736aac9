/** Live queries over real HTTP, in their thread: the client, coming back, slow readers, ends. */
import { strict as assert } from "node:assert";
import { on, once } from "node:events";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { after, before, test } from "node:test";
import {
  applyDifferences,
  createDocuments,
  type LiveUpdate,
  type QueryDifference,
  type QueryRow,
} from "../../src/client/index.ts";
import { createGateway } from "../../src/gateway/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { WebSocket } from "ws";
import {
  createQueries,
  createQueryRoutes,
  type LiveQueries,
  type LocalDocumentStore,
  type Queries,
} from "../../src/data/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp, setCaller, type HttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics, type Metrics } from "../../src/runtime/metrics/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { items, openDocuments, put, replicate, write } from "../support/documents.ts";
import { counted, startLive } from "../support/queries-live.ts";

const folder = temporaryFolder();
let store: LocalDocumentStore;
let queries: Queries;
let live: LiveQueries;
let metrics: Metrics;
let app: HttpApp;
let url: string;

before(async () => {
  const path = join(folder.path, "documents.db");
  store = await openDocuments(path);
  await declare(store);
  queries = createQueries({ clock: systemClock }, { documentsPath: path, streamsPath: "none" });
  ({ live, metrics } = startLive({ queries, store }, { beatMs: 50 }));
  app = createHttpApp();
  app.addHook("onRequest", async (request) =>
    setCaller(request, String(request.headers["x-caller"] ?? "somebody")),
  );
  const declared = { isCollection: () => false, isStream: () => false };
  createQueryRoutes({ queries, live, declared })(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
});
const declare = (to: LocalDocumentStore) =>
  to.declare(
    ["shared", "back", "kept", "gone", "got", "socket"].map((name) => ({
      ...items,
      name,
      fields: [],
    })),
  );
after(async () => {
  live.stop();
  await app.close();
  await queries.stop();
  await store.close();
  folder[Symbol.dispose]();
});

type Told = {
  readonly id: string;
  readonly event: string;
  readonly data: { rows?: QueryRow[]; changes?: QueryDifference[]; reason?: string; code?: string };
};

/** Server-sent events, read one by one. */
async function follow(collection: string, query: object, headers: Record<string, string> = {}) {
  const gone = new AbortController();
  const answer = await fetch(`${url}/v1/documents/${collection}/query`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ ...query, live: true }),
    signal: gone.signal,
  });
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  const reader = answer.body?.getReader();
  assert.ok(reader);
  let text = "";
  const any = async (): Promise<Told | "beat" | undefined> => {
    for (let end = text.indexOf("\n\n"); ; end = text.indexOf("\n\n")) {
      if (end < 0) {
        const { value, done } = await reader.read();
        if (done) return undefined;
        text += Buffer.from(value).toString();
        continue;
      }
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      if (block === ":") return "beat";
      const [, id = "", event = "", data = "{}"] =
        /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(block) ?? [];
      return { id, event, data: JSON.parse(data) as Told["data"] };
    }
  };
  const next = async (): Promise<Told | undefined> => {
    for (;;) {
      const told = await any();
      if (told !== "beat") return told;
    }
  };
  return { any, next, leave: () => gone.abort() };
}

const idsOf = ({ data }: Told) => (data.rows ?? data.changes ?? []).map(({ id }) => id).join(" ");

const numbered = (name: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => put(`d${from + at}`, { n: from + at }, name));

test("the client has at every moment what the query answers, writes of another node included", async (t) => {
  const other = await openDocuments(join(folder.path, "other.db"), "n2");
  t.after(() => other.close());
  await declare(other);
  await write(store, ...numbered("shared", 0, 10));
  const client = createDocuments({ url });
  const stop = new AbortController();
  const asked = { where: "n >= 3", sort: ["-n"], limit: 4 };
  const updates = client.live("shared", { ...asked, signal: stop.signal })[Symbol.asyncIterator]();
  const next = async () => (await updates.next()).value as LiveUpdate;
  const ids = (rows: readonly QueryRow[]) => rows.map(({ id }) => id).join(" ");
  const first = await next();
  assert.deepEqual([first.event, ids(first.rows)], ["result", "d9 d8 d7 d6"]);

  await replicate(store, other);
  await write(other, put("d4", { n: 7.5 }, "shared"), put("d0", { n: 1 }, "shared"));
  await replicate(other, store);
  const moved = await next();
  assert.deepEqual(
    [moved.event, ids(moved.rows), moved.changes],
    [
      "changes",
      "d9 d8 d4 d7",
      [
        { change: "removed", id: "d6", at: 3 },
        { change: "added", id: "d4", at: 2, row: { id: "d4", body: { n: 7.5 } } },
      ],
    ],
  );
  await write(
    store,
    { collection: "shared", id: "d9", do: "delete" },
    put("d7", { n: 20 }, "shared"),
  );
  const { rows } = await next();
  assert.equal(ids(rows), "d7 d8 d4 d6");
  const again: QueryRow[] = [];
  for await (const row of client.query("shared", asked)) again.push(row);
  assert.deepEqual(rows, again);
  const waiting = updates.next();
  stop.abort();
  assert.equal((await waiting).done, true);
});

test("Q7: who comes back gets what was missed, once, or all rows; and nobody else does", async () => {
  await write(store, ...numbered("back", 0, 3));
  const query = { sort: ["n"], fields: ["n"] };
  const seen = async (reader: { next(): Promise<Told | undefined> }, count: number) => {
    const events: string[] = [];
    let last: Told | undefined;
    for (let at = 0; at < count; at++) {
      last = await reader.next();
      assert.ok(last);
      events.push(`${last.event} ${last.data.reason ?? idsOf(last)}`.trim());
    }
    return { events, id: last?.id ?? "" };
  };
  const first = await follow("back", query);
  const { id: begun } = await seen(first, 1);
  await write(store, put("d3", { n: 3 }, "back"));
  assert.deepEqual((await seen(first, 1)).events, ["changes d3"]);
  assert.equal(await first.any(), "beat");
  first.leave();
  await write(store, put("d4", { n: 4 }, "back"));

  // As if what came after the first event had been lost on its way.
  const second = await follow("back", query, { "last-event-id": begun });
  const { events, id } = await seen(second, 3);
  assert.deepEqual(events, ["resumed", "changes d3", "changes d4"]);
  // Before the node has noticed that the connection is gone.
  const third = await follow("back", query, { "last-event-id": id });
  assert.equal(await second.next(), undefined);
  await write(store, put("d5", { n: 5 }, "back"));
  assert.deepEqual((await seen(third, 2)).events, ["resumed", "changes d5"]);

  for (const [asked, headers] of [
    [query, { "last-event-id": id, "x-caller": "somebody else" }],
    [{ ...query, limit: 5 }, { "last-event-id": id }],
    [query, { "last-event-id": "1" }],
  ] as const) {
    const anew = await follow("back", asked, headers);
    const told = await anew.next();
    assert.deepEqual(
      [told?.event, told?.data.reason, told?.data.rows?.length],
      ["reset", "not-resumable", Math.min(6, "limit" in asked ? asked.limit : 100)],
    );
    anew.leave();
  }
  third.leave();
});

test("Q8: a declaration that changes begins it anew, one that is removed ends it, with the reason", async () => {
  await write(store, ...numbered("kept", 0, 2), ...numbered("gone", 0, 2));
  live.declare(new Map(["kept", "gone"].map((name) => [name, "1"])));
  const kept = await follow("kept", {});
  assert.equal((await kept.next())?.event, "result");
  const over = (async () => {
    for await (const { event } of createDocuments({ url }).live("gone")) {
      assert.equal(event, "result");
      live.declare(new Map([["kept", "2"]]));
    }
  })();
  await assert.rejects(over, {
    code: "collection-unknown",
    message: 'the Collection "gone" was removed',
  });
  const anew = await kept.next();
  assert.deepEqual([anew?.event, anew?.data.reason], ["reset", "collection-changed"]);
  assert.equal(anew?.data.rows?.length, 2);
  await write(store, put("d2", { n: 2 }, "kept"));
  assert.equal((await kept.next())?.event, "changes");
  kept.leave();
});

test("what is refused says why, before anything is answered", async () => {
  const refused = async (path: string, body?: object) => {
    const answer = await fetch(`${url}/v1/${path}`, {
      ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
      headers: body ? { "content-type": "application/json" } : {},
    });
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    return [answer.status, error.code, error.message];
  };
  const query = "documents/shared/query";
  assert.deepEqual(await refused(query, { live: true, aggregate: ["count"] }), [
    400,
    "invalid-query",
    "live: does not go with aggregate and by: live queries answer documents, by where, sort, fields and limit",
  ]);
  assert.match(String(await refused(query, { live: true, explain: true })), /live: .* explain/);
  assert.match(String(await refused(query, { live: 1 })), /live: must be true or false/);
  assert.match(String(await refused("live/shared?where=n")), /where, character 2: expected =/);
  assert.match(String(await refused("live/shared?limit=x")), /limit: "x" must be a whole number/);
  assert.match(String(await refused("live/none")), /404,collection-unknown/);
});

test("by GET, as browsers ask for it", async () => {
  await write(store, ...numbered("got", 0, 5));
  const gone = new AbortController();
  const answer = await fetch(`${url}/v1/live/got?where=n%3E1&sort=-n,id&fields=id&limit=2`, {
    signal: gone.signal,
  });
  const { value } = await (answer.body as ReadableStream<Uint8Array>).getReader().read();
  assert.match(
    Buffer.from(value ?? []).toString(),
    /^id: \w{20}\.1\nevent: result\ndata: \{"rows":\[\{"id":"d4","body":\{\}\},\{"id":"d3","body":\{\}\}\]\}\n\n$/,
  );
  gone.abort();
  const open = () => counted(metrics, "skerry_live_queries");
  assert.ok(Number(await open()) > 0, "what nobody reads can be resumed for a while");
});

test("over a WebSocket of the gateway: the same events, by the same tokens, and from where it was", async (t) => {
  await write(store, ...numbered("socket", 0, 3));
  const gateway = await createGateway(
    {
      authenticate: async (token) =>
        token === "good.x-y" ? { id: "spiffe://c/app/a" } : undefined,
      routes: [
        createQueryRoutes({
          queries,
          live,
          declared: { isCollection: () => false, isStream: () => false },
        }),
      ],
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics(),
    },
    { host: "127.0.0.1", port: 0 },
  );
  t.after(() => gateway.stop());
  const path = `${gateway.url.replace("http", "ws")}/v1/live`;
  const open = (url: string, token: "header" | "protocol" | "none") =>
    token === "header"
      ? new WebSocket(url, { headers: { authorization: "Bearer good.x-y" } })
      : new WebSocket(url, token === "none" ? [] : ["skerry.live", "bearer.good.x-y"]);
  const messages = (socket: WebSocket) => {
    const events = on(socket, "message");
    return async () => {
      const { value } = await events.next();
      return JSON.parse(String(value?.[0])) as SocketMessage;
    };
  };
  const refusal = async (url: string, token: "header" | "none") => {
    const [, response] = (await once(open(url, token), "unexpected-response")) as [
      unknown,
      IncomingMessage,
    ];
    const { error } = (await json(response)) as { error: { code: string } };
    return [response.statusCode, error.code];
  };
  assert.deepEqual(await refusal(`${path}/socket`, "none"), [401, "unauthenticated"]);
  assert.deepEqual(await refusal(`${path}/nothing`, "header"), [404, "collection-unknown"]);
  assert.deepEqual(await refusal(`${path}/socket?limit=0`, "header"), [400, "invalid-query"]);

  const first = open(`${path}/socket?sort=-n&fields=n&limit=2`, "protocol");
  const next = messages(first);
  const result = await next();
  assert.equal(first.protocol, "skerry.live");
  assert.deepEqual(
    [result.event, result.rows],
    [
      "result",
      [
        { id: "d2", body: { n: 2 } },
        { id: "d1", body: { n: 1 } },
      ],
    ],
  );
  // Silence: the peer is asked whether it is there.
  await once(first, "ping");
  await write(store, put("d3", { n: 3 }, "socket"));
  const changed = await next();
  assert.deepEqual(
    [changed.event, changed.changes?.map(({ change, id, at }) => `${change} ${id} ${at}`)],
    ["changes", ["removed d1 1", "added d3 0"]],
  );
  first.terminate();
  await write(store, put("d4", { n: 4 }, "socket"));
  const back = `${path}/socket?sort=-n&fields=n&limit=2&lastEventId=${result.id}`;
  const second = open(back, "header");
  const missed = messages(second);
  const seen = [await missed(), await missed(), await missed()];
  assert.deepEqual(
    seen.map(({ event }) => event),
    ["resumed", "changes", "changes"],
  );
  const rows = seen.reduce(
    (all, { changes = [] }) => applyDifferences(all, changes),
    result.rows ?? [],
  );
  assert.deepEqual(
    rows.map(({ id }) => id),
    ["d4", "d3"],
  );
  // More than a reader has to say.
  second.send("x".repeat(5000));
  assert.deepEqual((await once(second, "close"))[0], 1009);

  const asked = await fetch(`${gateway.url}/v1/documents/socket/query`, {
    method: "POST",
    headers: { authorization: "Bearer good.x-y", "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(asked.status, 200);
  const over = open(`${path}/socket`, "header");
  await messages(over)();
  live.stop();
  assert.deepEqual((await once(over, "close"))[0], 1001);
  assert.equal(await counted(metrics, "skerry_live_queries"), 0);
});

type SocketMessage = {
  readonly event: string;
  readonly id: string;
  readonly rows?: QueryRow[];
  readonly changes?: QueryDifference[];
};
