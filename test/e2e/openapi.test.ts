/**
 * docs/openapi.json is what a node's gateway says of itself, and what the gateway says is so: every
 * operation is called, and what was sent and answered is held against it. After a change of the routes
 * `npm run openapi` writes the file anew.
 */
import { strict as assert } from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { mintLocalToken } from "../../src/agent/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { describedBy, type OpenApi } from "../support/described.ts";
import { startTestSite, type TestSite } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const filePath = fileURLToPath(new URL("../../docs/openapi.json", import.meta.url));
let site: TestSite;
let document: OpenApi;
let gateway: ReturnType<typeof describedBy>;

const manifest = (kind: string, name: string, spec: object) =>
  JSON.stringify({ apiVersion: "skerry.dev/v1alpha1", kind, metadata: { name }, spec });

before(async () => {
  site = await startTestSite({ name: "spec", subnet: 173, nodes: 1 });
  const { gateway: url } = site.node("n1");
  // A person's: it may compare stores as well.
  const { token } = mintLocalToken(site.dataDir("n1"), {
    subject: "user/cli",
    ttlMs: 3_600_000,
    clock: systemClock,
  });
  const headers = { authorization: `Bearer ${token}` };
  document = (await (await fetch(`${url}/openapi.json`, { headers })).json()) as OpenApi;
  gateway = describedBy(document, { url, token });
  for (const object of [
    manifest("Stream", "readings", { egress: { drop: [] } }),
    manifest("Stream", "totals", {}),
    manifest("Collection", "items", { scope: "cellsToHub", egress: { drop: [] } }),
    manifest("Collection", "seats", { consistency: "strong" }),
  ])
    await site.kube(["apply", "-f", "-"], { input: object });
  const names = async (path: string, list: string) => {
    const { json } = await gateway.call(`GET ${path}`);
    return (json as Record<string, { name: string }[]>)[list]?.map(({ name }) => name) ?? [];
  };
  await waitFor(
    async () =>
      (await names("/v1/streams", "streams")).includes("totals") &&
      (await names("/v1/documents", "collections")).includes("seats"),
    { what: "streams and collections" },
  );
});

after(async () => {
  assert.deepEqual(await site.close(), [], "`skerry down` left processes");
});

test("docs/openapi.json is what the gateway says of itself", () => {
  const text = `${JSON.stringify(document, null, 2)}\n`;
  if (process.env["SKERRY_WRITE_OPENAPI"]) writeFileSync(filePath, text);
  assert.equal(readFileSync(filePath, "utf8"), text, "write it anew: npm run openapi");
});

test("every operation says what it is, and what it answers", () => {
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, { summary, responses, parameters = [] }] of Object.entries(methods)) {
      assert.ok(summary, `${method} ${path}`);
      const good = Object.entries(responses).filter(([status]) => status.startsWith("2"));
      assert.ok(good.length > 0, `${method} ${path}`);
      for (const [status, { content }] of good)
        assert.ok(status === "204" || content, `${method} ${path}: ${status} says nothing`);
      const inPath = parameters.filter((one) => one.in === "path").map(({ name }) => name);
      assert.deepEqual(
        inPath,
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
      );
    }
});

test("of a node", async () => {
  const { call } = gateway;
  for (const path of ["/livez", "/healthz", "/readyz", "/openapi.json", "/v1/status"])
    await call(`GET ${path}`);
  await call("POST /v1/data/sql", { body: { sql: "select 1 as one", limit: 1 } });
  const { text } = await call("POST /v1/data/verify", { body: {} });
  assert.match(text, /"event":"end"/);
});

test("of streams", async () => {
  const { call } = gateway;
  const path = { name: "readings" };
  const entries = "/v1/streams/{name}/entries";
  const one = { body: { celsius: 21.5 } };
  await call(`POST ${entries}`, { path, ...one });
  await call(`POST ${entries}`, {
    path,
    headers: {
      "content-type": "application/x-ndjson",
      ...{ "skerry-producer": "p", "skerry-epoch": "1", "skerry-sequence": "1" },
    },
    body: '{"celsius":1}\n{"celsius":2}\n',
  });
  await call(`POST ${entries}`, { path, ...one, query: { durability: "peer(3)" }, status: 400 });
  await call(`GET ${entries}`, { path });
  await call(`GET ${entries}`, { path, query: { format: "json", limit: "1" } });
  await call(`GET ${entries}`, { path, query: { follow: "1", newest: "1" } });
  await call(`GET ${entries}`, { path: { name: "nothing" }, status: 404 });
  await call("POST /v1/streams/{name}/query", { path, body: { where: "celsius > 1" } });
  await call("POST /v1/streams/{name}/query", {
    path,
    body: { window: "10m", aggregate: ["count"] },
  });
  await call("GET /v1/dead-letters");
  await call("POST /v1/dead-letters/retry", { query: { stream: "readings" } });
});

for (const folder of ["groups", "cell-groups"])
  test(`of consumer groups, ${folder}`, async () => {
    const { call } = gateway;
    const root = `/v1/streams/{name}/${folder}`;
    const [stream, path] = [{ name: "readings" }, { name: "readings", group: "work" }];
    const again = { path, body: { from: "oldest" } };
    await call(`PUT ${root}/{group}`, { ...again, status: 201 });
    await call(`PUT ${root}/{group}`, again);
    const take = async (): Promise<string> =>
      waitFor(
        async () => {
          const body = { limit: 1, waitMs: 1000, member: "m1" };
          const { json } = await call(`POST ${root}/{group}/take`, { path, body });
          return (json as { delivery?: string }).delivery;
        },
        { what: "a batch" },
      );
    const delivery = await take();
    await call(`POST ${root}/{group}/extend`, { path, body: { delivery, ackMs: 60_000 } });
    await call(`GET ${root}/{group}`, { path });
    await call(`GET ${root}`, { path: stream });
    await call(`POST ${root}/{group}/release`, { path, body: { delivery } });
    const body = {
      delivery: await take(),
      ...(folder === "groups" ? { results: [{ stream: "totals", body: { sum: 1 } }] } : {}),
    };
    await call(`POST ${root}/{group}/ack`, { path, body });
    await call(`POST ${root}/{group}/ack`, { path, body });
    const unknown = { path, body: { delivery: "1.2.3.4" }, status: 409 };
    await call(`POST ${root}/{group}/ack`, unknown);
    await call(`POST ${root}/{group}/seek`, { path, body: { from: "newest" } });
    await call(`DELETE ${root}/{group}`, { path, status: 204 });
    await call(`GET ${root}/{group}`, { path, status: 404 });
  });

test("of documents", async () => {
  const { call } = gateway;
  const [one, all] = ["/v1/documents/{collection}/{id}", "/v1/documents/{collection}"];
  for (const collection of ["items", "seats"]) {
    const isStrong = collection === "seats";
    const [path, inAll] = [{ collection, id: "a" }, { collection }];
    const put = { path, body: { name: "bolt", stock: 3 } };
    await call(`PUT ${one}`, { ...put, headers: { "idempotency-key": `${collection}-1` } });
    await call(`PUT ${one}`, { ...put, headers: { "idempotency-key": `${collection}-1` } });
    await call(`PATCH ${one}`, { path, body: { size: 8 } });
    await call(`PATCH ${one}`, {
      path,
      body: [{ change: "set", path: "/stock", value: 4 }],
    });
    const batch = {
      writes: [
        { id: "b", put: { name: "nut" } },
        { id: "c", delete: true },
      ],
    };
    await call(`POST ${all}`, { path: inAll, body: batch });
    await call(`GET ${one}`, { path });
    await call(`GET ${one}`, { path: { collection, id: "none" }, status: 404 });
    await call(`GET ${all}`, { path: inAll, query: { limit: "1" } });
    await call(`GET ${all}`, { path: inAll, query: { follow: "1" } });
    const status = isStrong ? 400 : 200;
    await call(`GET ${all}`, { path: inAll, query: { since: "" }, status });
    await call(`GET ${all}`, { path: inAll, query: { limit: "0" }, status: 400 });
    const none = { "if-none-match": "*" };
    await call(`PUT ${one}`, { ...put, headers: none, status: isStrong ? 412 : 400 });
    const query = { where: 'name = "bolt"', fields: ["name"], explain: !isStrong };
    await call(`POST ${all}/query`, { path: inAll, body: query });
    await call(`DELETE ${one}`, { path });
  }
  await call("GET /v1/live/{collection}", { path: { collection: "items" } });
  await call("GET /v1/documents");
});

test("of coordination", async () => {
  const { call } = gateway;
  const root = "/v1/coordination";
  const path = { rest: "jobs/1" };
  const value = { body: "one", headers: { "content-type": "application/octet-stream" } };
  await call(`GET ${root}`);
  await call(`PUT ${root}/keys/{rest}`, { path, ...value });
  const headers = { ...value.headers, "if-none-match": "*" };
  await call(`PUT ${root}/keys/{rest}`, { path, ...value, headers, status: 412 });
  const { text } = await call(`GET ${root}/keys/{rest}`, { path });
  assert.equal(text, "one");
  await call(`GET ${root}/keys/{rest}`, { path: { rest: "none" }, status: 404 });
  await call(`GET ${root}/keys`, { query: { prefix: "jobs/", limit: "10" } });
  await call(`GET ${root}/watch`, { query: { prefix: "jobs/", after: "1" } });
  const begun = await call(`POST ${root}/sessions`, { body: { ttlMs: 60_000 } });
  const { session } = begun.json as { session: string };
  await call(`POST ${root}/sessions/{id}/renew`, { path: { id: session } });
  for (const kind of ["locks", "elections"]) {
    const at = `${root}/${kind}/{name}`;
    const named = { path: { name: "n" } };
    await call(`GET ${at}`, named);
    const { json } = await call(`POST ${at}`, { ...named, body: { session, value: "me" } });
    const { token } = json as { token: number };
    await call(`POST ${at}`, { ...named, body: { session, id: "x" }, status: 412 });
    await call(`GET ${at}`, { ...named, query: { stale: "1" } });
    await call(`GET ${at}/watch`, named);
    await call(`DELETE ${at}`, { ...named, query: { token: String(token) } });
    await call(`DELETE ${at}`, { ...named, query: { token: String(token) }, status: 412 });
  }
  await call(`DELETE ${root}/keys/{rest}`, { path });
  await call(`DELETE ${root}/sessions/{id}`, { path: { id: session } });
  await call(`DELETE ${root}/sessions/{id}`, { path: { id: session }, status: 404 });
});

test("202 is what is at less than the level asked for: the hub is away", async () => {
  const { call } = gateway;
  await site.down("hub");
  const query = { durability: "hub", timeoutMs: "50" };
  const short = { query, body: { n: 1 }, status: 202 };
  await call("POST /v1/streams/{name}/entries", { path: { name: "readings" }, ...short });
  const path = { collection: "items", id: "late" };
  await call("PUT /v1/documents/{collection}/{id}", { path, ...short });
});

test("every operation was called", () => {
  assert.deepEqual(
    gateway.operations.filter((operation) => !gateway.called.has(operation)),
    [],
  );
});
