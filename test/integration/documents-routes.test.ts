/** Documents over real HTTP, by the client and by hand. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import {
  createDocuments,
  type DocumentChange,
  type DocumentClient,
} from "../../src/client/index.ts";
import {
  createDocumentRoutes,
  createDocumentWrites,
  type DocumentStore,
  type DocumentWrites,
} from "../../src/data/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp, setCaller, type HttpApp } from "../../src/runtime/http/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { openDocuments } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const vectors = new Map<string, Record<string, number>>();
const vectorListeners = new Set<() => void>();
let store: DocumentStore;
let writes: DocumentWrites;
let app: HttpApp;
let url: string;
let client: DocumentClient;

before(async () => {
  store = await openDocuments(join(folder.path, "documents.db"));
  writes = createDocumentWrites({
    store,
    peers: {
      vectorsByNode: () => vectors,
      on(_event, listener) {
        vectorListeners.add(listener);
        return () => void vectorListeners.delete(listener);
      },
    },
    cellNodes: () => 2,
    clock: systemClock,
  });
  app = createHttpApp();
  app.addHook("onRequest", async (request) => {
    const caller = request.headers["x-caller"];
    if (typeof caller === "string") setCaller(request, caller);
  });
  createDocumentRoutes({ store, writes, clock: systemClock })(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
  client = createDocuments({ url });
});
after(async () => {
  await app.close();
  writes.stop();
  await store.close();
  folder[Symbol.dispose]();
});

const send = async (method: string, path: string, body?: unknown, headers = {}) => {
  const answer = await fetch(`${url}/v1/documents${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, never> };
};

test("a document is put, patched, changed, read, listed and deleted by the client", async () => {
  const put = await client.put("items", "bolt/8", { name: "bolt", stock: 5, size: { mm: 8 } });
  assert.deepEqual([put.reached, put.changed], ["local", 1]);
  assert.equal(
    (await client.put("items", "bolt/8", { name: "bolt", stock: 5, size: { mm: 8 } })).changed,
    0,
  );
  await client.merge("items", "bolt/8", { size: null, colour: "blue" });
  const count = [{ change: "increment", path: "/stock", by: -2 }] as const;
  for (let sent = 0; sent < 2; sent++)
    await client.change("items", "bolt/8", count, { key: "sale 1" });
  const found = await client.get("items", "bolt/8");
  assert.deepEqual(found?.body, { colour: "blue", name: "bolt", stock: 3 });
  const batch = await client.batch("items", [
    { id: "nut", put: { stock: 1 } },
    { id: "nail", change: [{ change: "add", path: "/tags", value: "steel" }] },
    { id: "text", collection: "notes", put: { text: "hello" } },
    { id: "gone", delete: true },
  ]);
  assert.deepEqual(
    [batch.changed, batch.versions?.map((version) => version !== null)],
    [3, [true, true, true, false]],
  );
  const ids: string[] = [];
  for await (const { id } of client.list("items")) ids.push(id);
  assert.deepEqual(ids, ["bolt/8", "nail", "nut"]);
  assert.equal((await client.delete("items", "nut")).changed, 1);
  assert.equal(await client.get("items", "nut"), undefined);
  assert.equal((await client.delete("items", "nut")).changed, 0);
});

test("M6: an idempotency-key is of its caller, and goes with one write", async () => {
  const patch = async (by: number, caller: string) => {
    const body = [{ change: "increment", path: "/stock", by }];
    const headers = { "idempotency-key": "1", "x-caller": caller };
    const answer = await send("PATCH", "/items/once", body, headers);
    return [answer.status, answer.body["changed"] ?? answer.body["error"]?.["message"]];
  };
  assert.deepEqual(await patch(1, "shop"), [200, 1]);
  assert.deepEqual(await patch(1, "till"), [200, 1]);
  assert.deepEqual(await patch(1, "shop"), [200, 0]);
  assert.deepEqual(await patch(2, "shop"), [
    400,
    "idempotency-key: another write was sent with it before",
  ]);
  await client.delete("items", "once");
});

test("refusals name what was wrong", async () => {
  const refusal = async (...request: Parameters<typeof send>) => {
    const { status, body } = await send(...request);
    const { code, message } = body["error"] ?? ({} as never);
    return `${status} ${String(code)} ${String(message)}`;
  };
  assert.match(await refusal("GET", "/items/none"), /^404 document-unknown .*"none"/);
  assert.match(await refusal("PUT", "/itms/a", {}), /^404 collection-unknown .*"itms"/);
  assert.match(await refusal("PUT", "/items/a", "{"), /^400 invalid-document body: is not JSON/);
  assert.match(
    await refusal("PUT", "/items/a", []),
    /^400 invalid-document .*must be a JSON object/,
  );
  assert.match(
    await refusal("PUT", "/items/a", { name: 1 }),
    /^400 invalid-document .*\/name: 1 must be text/,
  );
  assert.match(
    await refusal("PUT", "/items/a", { x: "y".repeat(300_000) }),
    /^413 document-too-large/,
  );
  assert.match(
    await refusal("PATCH", "/items/a", [1]),
    /^400 invalid-document body: must be a list/,
  );
  assert.match(await refusal("POST", "/items", {}), /^400 invalid-document body\.writes/);
  assert.match(
    await refusal("POST", "/items", { writes: [{ id: "a", put: {}, merge: {} }] }),
    /^400 .*one thing too many/,
  );
  assert.match(
    await refusal("POST", "/items", { writes: [{ id: "a", turn: {} }] }),
    /^400 .*"turn" must be/,
  );
  assert.match(
    await refusal("PUT", "/items/a?durability=all", {}),
    /^400 invalid-query durability: "all"/,
  );
  assert.match(await refusal("PUT", "/items/a?durability=hub", {}), /^400 level-impossible .*hub/);
  assert.match(
    await refusal("PUT", "/items/a?durability=peer(2)", {}),
    /^400 level-impossible .*the cell has 2/,
  );
  assert.match(
    await refusal("PUT", "/items/a?durablity=local", {}),
    /^400 invalid-query durablity: is not known/,
  );
  assert.match(await refusal("GET", "/items?limit=0"), /^400 invalid-query limit/);
  assert.match(await refusal("GET", "/items?since=x.1"), /^400 invalid-cursor/);
  assert.equal(await client.get("items", "a"), undefined);
});

test("D6: the answer names the level reached, and 202 says that it is not the one asked for", async () => {
  const short = await send("PUT", "/items/level?durability=peer(1)&timeoutMs=2000", { stock: 1 });
  assert.deepEqual(
    [short.status, short.body["reached"], short.body["asked"]],
    [202, "local", "peer(1)"],
  );
  const waiting = client.merge(
    "items",
    "level",
    { name: "x" },
    { durability: "peer(1)", timeoutMs: 30_000 },
  );
  await waitFor(async () => (await client.get("items", "level"))?.body["name"] === "x", {
    what: "the write to be committed",
  });
  vectors.set("n2", { ...(await store.vector()) });
  for (const listener of vectorListeners) listener();
  assert.deepEqual([(await waiting).reached, (await waiting).asked], ["peer(1)", undefined]);
});

test("changes come as events: all that is there, then what changes; and go on from a cursor", async (t) => {
  const abort = new AbortController();
  t.after(() => abort.abort());
  const seen: DocumentChange[] = [];
  const reading = (async () => {
    for await (const change of client.changes("notes", { signal: abort.signal })) seen.push(change);
  })();
  await waitFor(() => seen.length === 1, { what: "the events" });
  await client.put("notes", "two", { text: "first" });
  await waitFor(() => seen.length === 2, { what: "the events" });
  await client.delete("notes", "two");
  await waitFor(() => seen.length === 3, { what: "the events" });
  assert.deepEqual(
    seen.map(({ id, deleted }) => [id, deleted]),
    [
      ["text", false],
      ["two", false],
      ["two", true],
    ],
  );
  abort.abort();
  await reading;
  const { body } = await send("GET", `/notes?since=${seen[1]?.cursor}`);
  assert.deepEqual(
    (body["changes"] as unknown as DocumentChange[]).map(({ deleted }) => deleted),
    [true],
  );
});

test("the client comes back to changes when its connection is lost", async (t) => {
  const abort = new AbortController();
  t.after(() => abort.abort());
  const seen: string[] = [];
  let lost = 0;
  const flaky: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (lost++ > 0 || !answer.body) return answer;
    // The first connection breaks behind its first events.
    const reader = answer.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        const { value } = await reader.read();
        if (seen.length > 0) {
          await reader.cancel();
          controller.error(new TypeError("terminated"));
        } else controller.enqueue(value);
      },
    });
    return new Response(body, { status: 200 });
  };
  const reading = (async () => {
    const following = createDocuments({ url, fetch: flaky });
    for await (const { id } of following.changes("notes", { signal: abort.signal })) seen.push(id);
  })();
  await waitFor(() => seen.length >= 2, { what: "the events" });
  await client.put("notes", "three", { text: "later" });
  await waitFor(() => seen.includes("three"), { what: "the events" });
  assert.equal(new Set(seen).size, seen.length);
  abort.abort();
  await reading;
});

test("the examples of docs/data.md do what it says", async () => {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
  const [, code = ""] = /^```js\n(.*?)^```/ms.exec(text) ?? [];
  const example = code.replaceAll(/^import .*$/gm, "").replaceAll("process.env.", "environment.");
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<unknown>;
  const run = new AsyncFunction(
    ...["createDocuments", "readFile", "environment", "console"],
    `${example}; return body;`,
  );
  const environment = { SKERRY_GATEWAY: url, SKERRY_TOKEN_FILE: "token" };
  const lines: unknown[] = [];
  const body = await run(createDocuments, async () => "secret", environment, {
    log: (id: string) => lines.push(id),
  });
  assert.deepEqual(body, {
    colour: "blue",
    name: "bolt",
    notes: "Zinc plated",
    size: { inch: 0.31, mm: 8 },
    steps: ["drill", "turn"],
    stock: 37,
    tags: ["steel"],
  });
  assert.ok(lines.includes("order-1"));
  const bolt = await createDocuments({ url, token: "secret" }).get("items", "bolt-8");
  assert.deepEqual(bolt?.texts, {
    "/notes": [{ insert: "Zinc", attributes: { bold: true } }, { insert: " plated" }],
  });
});
