/** Queries over real HTTP, in their thread: the examples of the documents, the client, what is refused. */
import { strict as assert } from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import {
  createClient,
  createDocuments,
  type DocumentClient,
  type QueryRow,
} from "../../src/client/index.ts";
import {
  createDocumentRoutes,
  createDocumentWrites,
  createQueries,
  createQueryRoutes,
  createStreamRoutes,
  type DocumentStore,
  type LiveQueries,
  type Queries,
  type StreamStore,
} from "../../src/data/index.ts";
import { queryDocuments, queryEntries } from "../../src/data/routes/queries-openapi.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createDeadLetters, httpIngestRoutes } from "../../src/ingest/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createHttpApp, type HttpApp } from "../../src/runtime/http/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { openDocuments } from "../support/documents.ts";
import { startLive } from "../support/queries-live.ts";
import { declareOrders, openReadings, orders } from "../support/orders.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const path = join(folder.path, "documents.db");
let store: DocumentStore;
let streams: StreamStore;
let queries: Queries;
let live: LiveQueries;
let app: HttpApp;
let url: string;
let client: DocumentClient;

before(async () => {
  store = await openDocuments(path);
  await declareOrders(store);
  streams = await openReadings(join(folder.path, "streams.db"));
  queries = createQueries(
    { clock: systemClock },
    { documentsPath: path, streamsPath: join(folder.path, "streams.db"), idleMs: 1000 },
  );
  const peers = { vectorsByNode: () => new Map(), on: () => () => undefined };
  const writes = createDocumentWrites({ store, peers, cellNodes: () => 1, clock: systemClock });
  app = createHttpApp();
  createDocumentRoutes({ store, writes, clock: systemClock })(app);
  const declared = {
    isCollection: (name: string) => name === "items",
    isStream: (name: string) => name === "empty",
  };
  ({ live } = startLive({ queries, store }));
  createQueryRoutes({ queries, live, declared })(app);
  createStreamRoutes(streams, { clock: systemClock })(app);
  httpIngestRoutes({
    async append(entries, { level }) {
      const answer = await streams.append(entries);
      return answer.state === "refused" ? answer : { ...answer, state: "reached", reached: level };
    },
    streams: () => [{ name: "readings", durability: { level: "local" }, mqttTopics: [] }],
    deadLetters: createDeadLetters({ clock: systemClock }),
    clock: systemClock,
    metrics: createMetrics(),
  })(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
  client = createDocuments({ url });
});
after(async () => {
  live.stop();
  await app.close();
  await queries.stop();
  await Promise.all([store.close(), streams.close()]);
  folder[Symbol.dispose]();
});

const send = async (name: string, body: unknown, root = "documents") => {
  const answer = await fetch(`${url}/v1/${root}/${name}/query`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
};

test("the client asks page by page, as far as it is read", async () => {
  const all: QueryRow[] = [];
  for await (const row of client.query("orders", { sort: ["-total"] })) all.push(row);
  assert.deepEqual(
    all.map(({ id }) => id),
    orders.toSorted((a, b) => b.body.total - a.body.total).map(({ id }) => id),
  );
  const some: QueryRow[] = [];
  for await (const row of client.query("orders", { where: "total >= 20", limit: 2 }))
    some.push(row);
  assert.equal(some.length, 2);
  const many = Array.from({ length: 1200 }, (_, n) => ({ id: `i${n}`, put: { n } }));
  await client.batch("items", many.slice(0, 600));
  await client.batch("items", many.slice(600));
  const numbers: unknown[] = [];
  for await (const { body } of client.query("items", { sort: ["n"], fields: ["n"] }))
    numbers.push(body["n"]);
  assert.deepEqual(
    numbers,
    many.map((_, n) => n),
  );
  assert.deepEqual(await client.groups("items", { aggregate: ["sum(n)", "count"] }), [
    { group: {}, values: { "sum(n)": (1199 * 1200) / 2, count: 1200 } },
  ]);
});

test("what is refused says where and why", async () => {
  const wrong = await send("orders", { where: 'status = "open" and' });
  assert.deepEqual(
    [wrong.status, wrong.body["error"]],
    [
      400,
      {
        code: "invalid-query",
        message:
          "where, character 20: expected a field such as total, address.city or /address/city, found the end",
        hint: 'status = "open" and⟵ here',
        retryable: false,
      },
    ],
  );
  const codeOf = async (collection: string, body: unknown) => {
    const { status, body: answer } = await send(collection, body);
    return [status, (answer["error"] as { code: string }).code];
  };
  assert.deepEqual(await codeOf("orders", "{"), [400, "invalid-query"]);
  assert.deepEqual(await codeOf("orders", { cursor: "x" }), [400, "invalid-cursor"]);
  assert.deepEqual(await codeOf("nothing", {}), [404, "collection-unknown"]);
  assert.deepEqual(await send("items", { where: "none exists" }), {
    status: 200,
    body: { rows: [] },
  });
  await assert.rejects(client.groups("orders", { by: ["id"], where: "total >" }), {
    code: "invalid-query",
    hint: "total >⟵ here",
  });
});

test("Q5: the thread ends when nobody asks, and starts again", async () => {
  const isThere = () => readdirSync("/proc/self/task").some((task) => commOf(task) === "queries");
  // Until it is looked at within the second that an idle thread has.
  await waitFor(
    async () => {
      assert.equal((await send("orders", { limit: 1 })).status, 200);
      return isThere();
    },
    { what: "the thread" },
  );
  await waitFor(() => !isThere(), { what: "the thread to end" });
  assert.equal((await send("orders", { limit: 1 })).status, 200);
});

/** A thread that ends while it is looked at has no name. */
function commOf(task: string): string | undefined {
  try {
    return readFileSync(`/proc/self/task/${task}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}

for (const [root, name, described] of [
  ["documents", "orders", queryDocuments],
  ["streams", "readings", queryEntries],
] as const) {
  test(`the OpenAPI document's examples of ${root} are answered as it says`, async () => {
    const { examples, schema: request } = described.requestBody.content["application/json"];
    const { schema } = described.responses[200].content["application/json"];
    const properties = schema.properties as Record<string, unknown>;
    const shapes = schema.properties.rows.items.oneOf as readonly { required: string[] }[];
    for (const [example, { value }] of Object.entries(examples)) {
      const { status, body } = await send(name, value, root);
      assert.equal(status, 200, `${example}: ${JSON.stringify(body)}`);
      const rows = body["rows"] as object[];
      assert.ok(rows.length > 0, example);
      for (const key of Object.keys(body)) assert.ok(key in properties, key);
      for (const row of rows)
        assert.ok(
          shapes.some(({ required }) => required.every((key) => key in row)),
          JSON.stringify(row),
        );
    }
    const { body } = await send(name, { nothing: 1 }, root);
    const { message } = body["error"] as { message: string };
    const [, known = ""] = /known are (.*)$/.exec(message) ?? [];
    assert.deepEqual(known.split(", ").sort(), Object.keys(request.properties).sort());
  });
}

test("entries and windows of a stream, by the client", async () => {
  const client = createClient({ url });
  const found: unknown[] = [];
  for await (const { at, body } of client.select("readings", { where: 'sensor = "s1"', limit: 2 }))
    found.push([at, body["celsius"]]);
  assert.deepEqual(found, [
    ["2026-01-01T08:05:00.000Z", 21],
    ["2026-01-01T08:01:00.000Z", 19],
  ]);
  assert.deepEqual(await client.windows("readings", { window: "1h", by: ["sensor"] }), [
    { group: { window: "2026-01-01T08:00:00.000Z", sensor: "s1" }, values: { count: 3 } },
    { group: { window: "2026-01-01T08:00:00.000Z", sensor: "s2" }, values: { count: 1 } },
  ]);
  assert.deepEqual((await send("empty", {}, "streams")).body, { rows: [] });
  const unknown = await send("nothing", {}, "streams");
  assert.deepEqual(
    [unknown.status, (unknown.body["error"] as { code: string }).code],
    [404, "stream-unknown"],
  );
});

test("the example of docs/queries.md prints what it should", async () => {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/queries.md"), "utf8");
  const codes = [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code = ""]) => `{\n${code}}`);
  const example = codes
    .join("")
    .replaceAll(/^import .*$/gm, "")
    .replaceAll("process.env.", "environment.");
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<unknown>;
  const run = new AsyncFunction(
    ...["createDocuments", "createClient", "readFile", "environment", "console"],
    example,
  );
  const lines: string[] = [];
  await run(
    createDocuments,
    createClient,
    async () => "secret",
    { SKERRY_GATEWAY: url, SKERRY_TOKEN_FILE: "x" },
    {
      log: (...words: unknown[]) => lines.push(words.join(" ")),
    },
  );
  assert.deepEqual(lines, [
    "o3 250 Bergen",
    "o1 120 Oslo",
    "open 395",
    "paid 80.5",
    "2026-01-01T08:00:00.000Z s1 20",
    "2026-01-01T08:10:00.000Z s1 24",
    "2026-01-01T08:10:00.000Z s2 18",
    "o3 250, o1 120",
    "o2 300, o3 250",
    "removed o1 1",
    "added o2 0",
    "3 21 19 24 s1 s1 s1",
    "1 18 s2",
    "30",
  ]);
});
