/** The cell API over plain HTTPS: bad input, faults, watches, identities. */
import { strict as assert } from "node:assert";
import { gunzipSync } from "node:zlib";
import { after, before, test } from "node:test";
import { podKind, type KubeObject, type Pod } from "../../src/api/index.ts";
import type { Revision } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import type { Resources } from "../../src/resources/index.ts";
import {
  adminOf,
  clientOf,
  framesOf,
  servingCredentials,
  startCell,
  type Answer,
  type Client,
  type TestCell,
} from "../support/apiserver.ts";
import { temporaryAuthority } from "../support/identity.ts";
import { waitFor } from "../support/wait.ts";

let cell: TestCell;
let admin: Client;
/** What the next calls of resources do instead of their work. */
let fault: Partial<Resources> = {};

const faulty = (plain: Resources): Resources => {
  const handler: ProxyHandler<Resources> = {
    get: (target, name) => Reflect.get(name in fault ? fault : target, name),
  };
  return new Proxy(plain, handler);
};

before(async () => {
  cell = await startCell({
    resources: faulty,
    api: {
      limits: { watchStallMs: 300 },
      routes: [
        {
          prefix: "/skerry/echo",
          handle: async (request) => ({
            status: 200,
            contentType: "application/json",
            body: JSON.stringify({ who: request.subject.id, body: await request.body() }),
          }),
        },
      ],
    },
  });
  admin = await adminOf(cell);
});
after(async () => {
  await cell[Symbol.asyncDispose]();
});

const maps = "/api/v1/namespaces/default/configmaps";
const configMap = (name: string, fields: Record<string, unknown> = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name },
  ...fields,
});
const post = (path: string, body: unknown, headers?: Record<string, string>) =>
  admin.ask(path, { method: "POST", body, headers });

function assertStatus(answer: Answer, code: number, reason: string, message: RegExp): void {
  assert.equal(answer.status, code, answer.text);
  const { kind, reason: actual, message: text } = answer.json;
  assert.deepEqual([kind, actual], ["Status", reason]);
  assert.match(String(text), message);
}

test("S1: who has no certificate of this cell learns so, and only whether the server lives", async () => {
  const foreign = await temporaryAuthority(cell.authority.trustDomain);
  const { trustDomain } = cell.authority;
  const subject = {
    id: `spiffe://${trustDomain}/user/admin`,
    trustDomain,
    path: ["user", "admin"],
  };
  const forged = await foreign.issueCredentials(subject as never);
  for (const client of [clientOf(cell), clientOf(cell, forged)]) {
    assertStatus(await client.ask("/api"), 401, "Unauthorized", /client certificate/);
    assertStatus(await client.ask(maps), 401, "Unauthorized", /client certificate/);
    for (const path of ["/livez", "/readyz", "/healthz"]) {
      assert.equal((await client.ask(path)).text, "ok");
    }
  }
});

test("S2: a body that cannot be read is refused with what is wrong, and changes nothing", async () => {
  const bad = await post(maps, "{not json");
  assertStatus(bad, 400, "BadRequest", /not valid JSON/);
  const yaml = { "Content-Type": "application/yaml" };
  assertStatus(await post(maps, "a: [", yaml), 400, "BadRequest", /not valid YAML/);
  const bomb = `a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [${Array(99).fill("*c").join(",")}]`;
  assertStatus(await post(maps, bomb, yaml), 400, "BadRequest", /alias/i);
  const csv = { "Content-Type": "text/csv" };
  assertStatus(await post(maps, "a,b", csv), 415, "UnsupportedMediaType", /text\/csv/);
  const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
  assertStatus(await post(maps, deep), 400, "BadRequest", /nested deeper/);
  const proto =
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p"},"__proto__":{"a":1}}';
  assertStatus(await post(maps, proto), 400, "BadRequest", /__proto__/);
  const torn = Buffer.from([0x6b, 0x38, 0x73, 0, 0x0a, 0xff]);
  const protobuf = { "Content-Type": "application/vnd.kubernetes.protobuf" };
  assertStatus(await post(maps, torn, protobuf), 400, "BadRequest", /torn/);
  assertStatus(await post(maps, Buffer.from("x"), protobuf), 400, "BadRequest", /envelope/);
  assertStatus(await post(maps, undefined), 400, "BadRequest", /needs a body/);
  assert.deepEqual((await admin.ask(maps)).json["items"], []);
});

test("S2: a body above 3 MiB answers 413, told beforehand or not", async () => {
  const data = { big: "x".repeat(3 * 1024 * 1024) };
  const told = await post(maps, configMap("big", { data }));
  assertStatus(told, 413, "RequestEntityTooLarge", /3145728/);
  const chunked = await post(maps, configMap("big", { data }), { "Transfer-Encoding": "chunked" });
  assertStatus(chunked, 413, "RequestEntityTooLarge", /3145728/);
});

test("S4: what does not fit the path or the schema is named", async () => {
  const wrongKind = await post(maps, { ...configMap("a"), kind: "Secret" });
  assertStatus(wrongKind, 400, "BadRequest", /kind "Secret" does not match "ConfigMap"/);
  const noKind = await post(maps, { metadata: { name: "a" } });
  assertStatus(noKind, 400, "BadRequest", /apiVersion is missing/);
  const elsewhere = configMap("a");
  const moved = await post(maps, { ...elsewhere, metadata: { name: "a", namespace: "other" } });
  assertStatus(moved, 400, "BadRequest", /namespace of the object \(other\)/);
  const renamed = await admin.ask(`${maps}/b`, { method: "PUT", body: configMap("a") });
  assertStatus(renamed, 400, "BadRequest", /\(a\) does not match the name on the URL \(b\)/);
  const strict = `${maps}?fieldValidation=Strict`;
  const unknown = await post(strict, configMap("a", { datum: {} }));
  assertStatus(unknown, 422, "Invalid", /ConfigMap "a" is invalid: datum: unknown field/);
  const causes = (unknown.json["details"] as { causes: { field: string }[] }).causes;
  assert.deepEqual(
    causes.map(({ field }) => field),
    ["datum"],
  );
  const typed = await post(maps, configMap("a", { data: { k: 1 } }));
  assertStatus(typed, 422, "Invalid", /data\.k: 1/);
  const warned = await post(`${maps}?dryRun=All`, configMap("a", { datum: {} }));
  assert.equal(warned.status, 201);
  assert.match(String(warned.headers["warning"]), /^299 - "unknown field \\"datum\\""$/);
  const odd = await post(`${maps}?fieldValidation=Maybe`, configMap("a"));
  assertStatus(odd, 400, "BadRequest", /fieldValidation: "Maybe"/);
  const dry = await post(`${maps}?dryRun=Some`, configMap("a"));
  assertStatus(dry, 400, "BadRequest", /dryRun: "Some"/);
  const nowhere = await post("/api/v1/namespaces/nope/configmaps", configMap("a"));
  assertStatus(nowhere, 404, "NotFound", /namespaces "nope" not found/);
  assert.deepEqual((await admin.ask(maps)).json["items"], []);
});

test("S3: queries are checked by name", async () => {
  for (const [query, message] of [
    ["limit=-1", /limit: "-1"/],
    ["labelSelector=a%20in%20(", /selector/i],
    ["fieldSelector=spec", /fieldSelector/],
    ["fieldSelector=spec.nosuch=1", /spec\.nosuch/],
    ["continue=xyz", /continue/],
    ["watch=1&resourceVersion=abc", /resourceVersion: "abc"/],
    ["watch=1&timeoutSeconds=x", /timeoutSeconds: "x"/],
  ] as const) {
    // A field selector is only judged where there is something to select from.
    const created = await post(maps, configMap("here"));
    assert.equal(created.status, 201);
    assertStatus(await admin.ask(`${maps}?${query}`), 400, "BadRequest", message);
    await admin.ask(`${maps}/here`, { method: "DELETE" });
  }
  assertStatus(await admin.ask("/api/v1/nosuch"), 404, "NotFound", /could not find/);
  assertStatus(await admin.ask("/nosuch"), 404, "NotFound", /could not find/);
  const put = await admin.ask(maps, { method: "PUT", body: {} });
  assertStatus(put, 405, "MethodNotAllowed", /PUT is not allowed on configmaps/);
  const xml = await admin.ask(maps, { headers: { Accept: "application/xml" } });
  assertStatus(xml, 406, "NotAcceptable", /application\/json/);
});

test("S3: writes of the wrong version conflict, twins exist already", async () => {
  const made = await post(maps, configMap("one", { data: { a: "1" } }));
  assert.equal(made.status, 201);
  assertStatus(
    await post(maps, configMap("one")),
    409,
    "AlreadyExists",
    /configmaps "one" already/,
  );
  const stale = made.json as unknown as KubeObject;
  const put = (body: unknown) => admin.ask(`${maps}/one`, { method: "PUT", body });
  const fresh = await put({ ...stale, data: { a: "2" } });
  assert.equal(fresh.status, 200);
  const late = await put({ ...stale, data: { a: "3" } });
  assertStatus(late, 409, "Conflict", /Operation cannot be fulfilled on configmaps "one"/);
  const gone = await admin.ask(`${maps}/two`, { method: "PUT", body: configMap("two") });
  assertStatus(gone, 404, "NotFound", /configmaps "two" not found/);
  const body = { preconditions: { uid: "another" } };
  const other = await admin.ask(`${maps}/one`, { method: "DELETE", body });
  assertStatus(other, 409, "Conflict", /UID/);
  const deleted = await admin.ask(`${maps}/one`, { method: "DELETE" });
  assert.deepEqual([deleted.status, deleted.json["status"]], [200, "Success"]);
});

test("N1: lists come in pages, as objects, tables or metadata, packed when large", async () => {
  for (const name of ["p1", "p2", "p3"]) {
    await post(maps, configMap(name, { data: { big: "x".repeat(100_000) } }));
  }
  const names = (answer: Answer) =>
    (answer.json["items"] as KubeObject[]).map(({ metadata }) => metadata.name);
  const first = await admin.ask(`${maps}?limit=2`);
  assert.deepEqual(names(first), ["p1", "p2"]);
  const token = (first.json["metadata"] as { continue: string }).continue;
  const rest = await admin.ask(`${maps}?limit=2&continue=${encodeURIComponent(token)}`);
  assert.deepEqual(names(rest), ["p3"]);

  const asTable = { Accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };
  const table = await admin.ask(maps, { headers: asTable });
  const rows = table.json["rows"] as { cells: unknown[]; object: KubeObject }[];
  assert.deepEqual(
    rows.map(({ cells }) => cells.slice(0, 2)),
    [
      ["p1", 1],
      ["p2", 1],
      ["p3", 1],
    ],
  );
  assert.equal(rows[0]?.object.kind, "PartialObjectMetadata");
  const whole = await admin.ask(`${maps}?includeObject=Object`, { headers: asTable });
  assert.equal((whole.json["rows"] as typeof rows)[0]?.object.kind, "ConfigMap");
  const none = await admin.ask(`${maps}?includeObject=None`, { headers: asTable });
  assert.equal((none.json["rows"] as typeof rows)[0]?.object, undefined);
  const asMetadata = { Accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io" };
  const metadata = await admin.ask(maps, { headers: asMetadata });
  assert.ok(metadata.text.length < 5000);

  const packed = await admin.open(maps, { headers: { "Accept-Encoding": "gzip" } });
  assert.equal(packed.headers["content-encoding"], "gzip");
  const chunks: Buffer[] = [];
  for await (const chunk of packed) chunks.push(chunk as Buffer);
  assert.equal(JSON.parse(gunzipSync(Buffer.concat(chunks)).toString()).items.length, 3);
  const cleared = await admin.ask(maps, { method: "DELETE" });
  assert.equal((cleared.json["items"] as unknown[]).length, 3);
});

async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const versionOf = async () =>
  (await admin.ask(maps)).json["metadata"] as { resourceVersion: string };

test("S7: a watch goes on from a version, marks the end of what was there, and ends on time", async () => {
  const { resourceVersion } = await versionOf();
  await post(maps, configMap("w1"));
  const initial =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  const types: string[] = [];
  const response = await admin.open(`${maps}?watch=1&${initial}`);
  let marked: unknown;
  for await (const { type, object } of framesOf(response)) {
    types.push(type);
    marked ??= object.metadata.annotations?.["k8s.io/initial-events-end"];
    if (types.length === 2) break;
  }
  assert.deepEqual([types, marked], [["ADDED", "BOOKMARK"], "true"]);
  // Apart: on a machine that stands still the second is over before anything was told.
  const short = await admin.open(`${maps}?watch=1&${initial}&timeoutSeconds=1`);
  const told = await allOf(framesOf(short));
  assert.ok(short.complete, "the answer ended as it should");
  assert.ok(told.every(({ type }) => type !== "ERROR"));
  const from = await admin.open(`${maps}?watch=1&resourceVersion=${resourceVersion}`);
  for await (const { type, object } of framesOf(from)) {
    assert.deepEqual([type, object.metadata.name], ["ADDED", "w1"]);
    break;
  }
  const late = await admin.open(`${maps}?watch=1&sendInitialEvents=false`);
  await admin.ask(`${maps}/w1`, { method: "DELETE" });
  for await (const { type } of framesOf(late)) {
    assert.equal(type, "DELETED");
    break;
  }
});

test("S7: a watch from before the kept history ends with 410, so that the client lists anew", async () => {
  const { resourceVersion } = await versionOf();
  await post(maps, configMap("c1"));
  await admin.ask(`${maps}/c1`, { method: "DELETE" });
  const now = await versionOf();
  await cell.ledger.compact(Number(now.resourceVersion) as Revision);
  const response = await admin.open(`${maps}?watch=1&resourceVersion=${resourceVersion}`);
  const frames = await allOf(framesOf(response));
  assert.equal(frames.length, 1);
  assert.equal(frames[0]?.type, "ERROR");
  assert.deepEqual([frames[0].object["code"], frames[0].object["reason"]], [410, "Expired"]);
});

test("S7: a watcher that does not read is let go, and nothing piles up for it", async () => {
  let pulled = 0;
  let ended = false;
  const object = { ...configMap("big", { data: { x: "x".repeat(64 * 1024) } }) } as KubeObject;
  fault = {
    async *watch() {
      try {
        for (;;) {
          pulled++;
          yield { type: "ADDED", object } as never;
        }
      } finally {
        ended = true;
      }
    },
  };
  const response = await admin.open(`${maps}?watch=1`);
  response.pause();
  await waitFor(() => ended, { what: "the watch to be given up" });
  fault = {};
  // Kernel buffers of both ends and the high-water mark; without a bound it would be endless.
  assert.ok(pulled < 500, `${pulled} events were taken for a client that reads none`);
  response.destroy();
});

test("S5: an unknown outcome says so, lost servers are named, our faults tell nothing", async () => {
  fault = { create: async () => ({ state: "unknown", cause: new Error("link lost") }) };
  const unknown = await post(maps, configMap("a"));
  assertStatus(unknown, 504, "Timeout", /unknown: it may or may not have happened \(link lost\)/);
  const lost = new SkerryError({
    code: "ledger-unavailable",
    message: "no server answers",
    retryable: true,
  });
  fault = { list: () => Promise.reject(lost) };
  const unavailable = await admin.ask(maps);
  assertStatus(unavailable, 503, "ServiceUnavailable", /^server-lost: no server answers \(.+\)$/);
  fault = { list: () => Promise.reject(new TypeError("secret inside")) };
  const internal = await admin.ask(maps);
  fault = {};
  assertStatus(internal, 500, "InternalError", /^internal error; see the log of this node$/);
  const logged = cell.errors.splice(0);
  assert.match(String(logged[0]?.error), /secret inside/);
});

test("Z3: a node writes what is its own, and what it may not is said", async () => {
  const make = (name: string, nodeName: string) =>
    cell.resources.create(podKind, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default" },
      spec: { nodeName, containers: [{ name: "c", image: "host" }] },
    });
  await make("mine", "n1");
  await make("theirs", "n2");
  const node = clientOf(cell, await cell.credentials("node", "n1"));
  const patch = (name: string, body: unknown = { status: { phase: "Running" } }) =>
    node.ask(`/api/v1/namespaces/default/pods/${name}/status`, {
      method: "PATCH",
      body,
      headers: { "Content-Type": "application/merge-patch+json" },
    });
  assert.equal((await patch("mine")).status, 200);
  assertStatus(
    await patch("theirs"),
    403,
    "Forbidden",
    /node\/n1" cannot patch resource "pods\/status"/,
  );
  assert.equal((await patch("mine", { metadata: { labels: { a: "b" } } })).status, 403);
  const remove = (name: string) =>
    node.ask(`/api/v1/namespaces/default/pods/${name}`, {
      method: "DELETE",
      body: { gracePeriodSeconds: 0 },
    });
  assertStatus(await remove("mine"), 403, "Forbidden", /only confirm a deletion/);
  assertStatus(await remove("theirs"), 403, "Forbidden", /not bound to this node/);
  await admin.ask("/api/v1/namespaces/default/pods/mine", { method: "DELETE" });
  assert.equal((await remove("mine")).status, 200);
  assertStatus(await node.ask("/skerry/echo"), 403, "Forbidden", /may not GET/);
  const guest = clientOf(cell, await cell.credentials("user", "guest"));
  assert.equal((await guest.ask("/apis")).status, 200);
  assertStatus(await guest.ask(maps), 403, "Forbidden", /no rule allows it/);
});

test("S6: what a node may write to a pod never reaches a later pod of the same name", async () => {
  const pod = (uid: string, nodeName: string) =>
    ({
      metadata: { name: "p", namespace: "default", uid, deletionTimestamp: "2026-01-01T00:00:00Z" },
      spec: { nodeName },
    }) as unknown as Pod;
  let asked: unknown;
  fault = {
    get: async () => pod("first", "n1") as never,
    delete: async (_kind, _key, options) => {
      asked = options?.preconditions;
      return { state: "done", object: pod("first", "n1") as never };
    },
    // The pod was made anew elsewhere after authorization had looked at it.
    patch: (_kind, key, patch, options) =>
      cell.resources.patch(podKind, key, patch, options) as never,
    update: (_kind, object, options) =>
      cell.resources.update(podKind, object as never, options) as never,
  };
  const again = { ...pod("", "n2"), apiVersion: "v1" as const, kind: "Pod" as const };
  const { state } = await cell.resources.create(podKind, {
    ...again,
    metadata: { name: "p", namespace: "default" },
    spec: { nodeName: "n2", containers: [{ name: "c", image: "host" }] },
  });
  assert.equal(state, "done");
  const node = clientOf(cell, await cell.credentials("node", "n1"));
  const status = { phase: "Failed" };
  for (const [type, body] of [
    ["merge-patch", { status }],
    ["strategic-merge-patch", { status }],
    ["json-patch", [{ op: "add", path: "/status/phase", value: "Failed" }]],
  ] as const) {
    const headers = { "Content-Type": `application/${type}+json` };
    const path = "/api/v1/namespaces/default/pods/p/status";
    const patched = await node.ask(path, { method: "PATCH", body, headers });
    assert.ok([409, 422].includes(patched.status), `${type}: ${patched.text}`);
    const object = { apiVersion: "v1", kind: "Pod", metadata: { name: "p" }, spec: {}, status };
    const put = await node.ask(path, { method: "PUT", body: object });
    assert.equal(put.status, 409, put.text);
  }
  const answer = await node.ask("/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", {
    method: "DELETE",
  });
  fault = {};
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(asked, { uid: "first" });
});

test("S8: discovery answers in the version asked for, OpenAPI lists fieldValidation", async () => {
  const accept = (version: string) =>
    `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList,application/json`;
  for (const version of ["v2", "v2beta1"]) {
    const { json, headers } = await admin.ask("/apis", { headers: { Accept: accept(version) } });
    assert.equal(json["apiVersion"], `apidiscovery.k8s.io/${version}`);
    assert.match(String(headers["content-type"]), new RegExp(`v=${version};`));
    const groups = (json["items"] as KubeObject[]).map(({ metadata }) => metadata.name);
    assert.ok(groups.includes("apps") && groups.includes("skerry.dev"), groups.join());
  }
  const plain = await admin.ask("/apis");
  assert.equal(plain.json["kind"], "APIGroupList");
  const core = await admin.ask("/api/v1");
  const names = (core.json["resources"] as { name: string }[]).map(({ name }) => name);
  assert.ok(names.includes("pods/log") && names.includes("pods/eviction"), names.join());
  const index = await admin.ask("/openapi/v3");
  const { serverRelativeURL } = (
    index.json["paths"] as Record<string, { serverRelativeURL: string }>
  )["apis/apps/v1"] ?? { serverRelativeURL: "" };
  const document = await admin.ask(serverRelativeURL);
  const paths = document.json["paths"] as Record<
    string,
    Record<string, { parameters: { name: string }[] }>
  >;
  const patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]?.["patch"];
  assert.ok(patch?.parameters.some(({ name }) => name === "fieldValidation"));
  const v2 = await admin.ask("/openapi/v2");
  assert.deepEqual([v2.status, v2.text], [200, ""]);
});

test("S2: other rooms' routes know who asks, and read bounded bodies", async () => {
  const echoed = await post("/skerry/echo/x", { a: 1 });
  assert.deepEqual(echoed.json, { who: "spiffe://cell-t.skerry/user/admin", body: { a: 1 } });
  const large = await post("/skerry/echo", "x".repeat(4 * 1024 * 1024));
  assertStatus(large, 413, "RequestEntityTooLarge", /3145728/);
});

test("S1: certificates are exchanged while it runs", async () => {
  const next = await temporaryAuthority(cell.authority.trustDomain);
  cell.api.rotate(await servingCredentials(next));
  await assert.rejects(admin.ask("/livez"), /certificate|signature/);
  cell.api.rotate(await servingCredentials(cell.authority));
  assert.equal((await admin.ask("/livez")).status, 200);
});

test("F6: a port in use is said, with what to do", async () => {
  await assert.rejects(startCell({ port: cell.port }), (error: unknown) => {
    assert.ok(error instanceof SkerryError);
    assert.equal(error.code, "api-listen-failed");
    assert.match(
      `${error.message} ${error.hint}`,
      /127\.0\.0\.1:\d+: .*EADDRINUSE.*another process/,
    );
    return true;
  });
});

test("S7: on stop watches end cleanly, and new requests find nobody", async () => {
  const own = await startCell();
  const client = await adminOf(own);
  const response = await client.open(`${maps}?watch=1`);
  const frames = allOf(framesOf(response));
  await own.api.close();
  assert.deepEqual(await frames, []);
  assert.ok(response.complete, "the answer ended as it should");
  await assert.rejects(client.ask("/livez"), { code: "ECONNREFUSED" });
  await own[Symbol.asyncDispose]();
});
