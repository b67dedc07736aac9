import { strict as assert } from "node:assert";
import { test, type TestContext } from "node:test";
import {
  createDeadLetters,
  httpIngestRoutes,
  type StreamDeclaration,
} from "../../src/ingest/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { gatewayAnswer } from "../support/gateway-answer.ts";
import { createTestStore, refused } from "../support/ingest.ts";

async function start(t: TestContext) {
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock: systemClock });
  const streams: StreamDeclaration[] = [
    { name: "temperature", durability: { level: "local" }, mqttTopics: [] },
  ];
  const app = createHttpApp();
  httpIngestRoutes({
    append: store.append,
    streams: () => streams,
    deadLetters,
    clock: systemClock,
    metrics: createMetrics(),
  })(app);
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => app.close());
  const post = async (
    body: string | Uint8Array<ArrayBuffer>,
    { query = "", stream = "temperature", headers = {} as Record<string, string> } = {},
  ) => {
    const response = await fetch(`${url}/v1/streams/${stream}/entries${query}`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", ...headers },
      body,
    });
    return gatewayAnswer(response);
  };
  return { store, deadLetters, streams, url, post };
}

test("I1: NDJSON is appended as one batch and answered with the level reached", async (t) => {
  const { store, post } = await start(t);
  let batches = 0;
  store.behaviour = async () => void batches++;
  const lines =
    '{"celsius":1}\r\n\n{"celsius":2,"$key":{"producer":"p","epoch":1,"sequence":1}}\n{"celsius":3}';
  const answer = await post(lines, { query: "?durability=peer(2)&timeoutMs=500" });
  assert.deepEqual(
    [answer.status, answer.body],
    [200, { reached: "peer(2)", stored: 3, duplicates: 0 }],
  );
  assert.equal(batches, 1);
  assert.deepEqual(store.bodies(), [{ celsius: 1 }, { celsius: 2 }, { celsius: 3 }]);
});

test("headers number the lines; sent twice it is stored once", async (t) => {
  const { store, post } = await start(t);
  const headers = { "skerry-producer": "meter", "skerry-epoch": "3", "skerry-sequence": "10" };
  await post("{}\n{}\n", { headers });
  const again = await post("{}\n{}\n{}\n", { headers });
  assert.deepEqual(again.body, { reached: "local", stored: 1, duplicates: 2 });
  assert.deepEqual(
    store.stored.map(({ key }) => key?.sequence),
    [10, 11, 12],
  );
});

test("JSON arrays and single objects are taken", async (t) => {
  const { store, post } = await start(t);
  const headers = { "content-type": "application/json; charset=utf-8" };
  await post('[{"a":1},{"a":2}]', { headers });
  await post('{"a":3}', { headers });
  assert.deepEqual(store.bodies(), [{ a: 1 }, { a: 2 }, { a: 3 }]);
});

test("I1: a level not reached in time is 202 with the level that was; what retention removed is counted", async (t) => {
  const { store, post } = await start(t);
  store.behaviour = async () => ({
    state: "short",
    reached: { level: "local" },
    stored: 1,
    duplicates: 0,
  });
  const answer = await post("{}\n", { query: "?durability=hub" });
  assert.deepEqual(
    [answer.status, answer.body],
    [202, { reached: "local", asked: "hub", stored: 1, duplicates: 0 }],
  );
  const counts = { stored: 0, duplicates: 2 };
  store.behaviour = async () => ({
    ...{ state: "reached", reached: { level: "local" }, ...counts },
    removed: [0, 1],
  });
  const removed = await post("{}\n{}\n", { query: "?durability=hub" });
  assert.deepEqual(
    [removed.status, removed.body],
    [200, { reached: "local", ...counts, removed: 2 }],
  );
});

test("a refusal of the store keeps its code, and says when to come again", async (t) => {
  const { store, post } = await start(t);
  for (const [code, retryable, status] of [
    ["store-busy", true, 429],
    ["disk-full", true, 507],
    ["storage-failed", false, 500],
    ["stopping", true, 503],
  ] as const) {
    store.behaviour = async () => refused(code, retryable);
    const answer = await post("{}\n");
    assert.equal(answer.status, status);
    assert.equal(answer.body.error.code, code);
    assert.equal(answer.headers.get("retry-after"), retryable ? "1" : null);
  }
});

test("I4: bad input names line and field and changes nothing", async (t) => {
  const { store, post, deadLetters } = await start(t);
  const cases = [
    [await post('{"a":1}\n{"a":'), 400, /^line 2: the entry is not JSON/],
    [await post('{"a":1}\n\n[1]\n'), 400, /^line 3: the entry must be a JSON object, got an array/],
    [
      await post('{"$key":{"producer":"p","epoch":1,"sequence":"x"}}'),
      400,
      /^line 1: \$key\.sequence .*"x"/,
    ],
    [
      await post("[{},5]", { headers: { "content-type": "application/json" } }),
      400,
      /^element 2: /,
    ],
    [
      await post("nope", { headers: { "content-type": "application/json" } }),
      400,
      /^body: is not JSON/,
    ],
    [await post(""), 400, /^body: there is no entry/],
    [
      await post("{}", { headers: { "skerry-producer": "p" } }),
      400,
      /^header Skerry\.epoch must be/,
    ],
    [await post("{}", { query: "?durability=disk" }), 400, /^durability: "disk" is not a level/],
    [await post("{}", { query: "?timeoutMs=1e9" }), 400, /^timeoutMs: "1e9"/],
    [await post("{}", { query: "?level=local" }), 400, /^query parameter "level" is unknown/],
    [await post("{}", { stream: "nobody" }), 404, /^there is no stream "nobody"/],
    [await post("{}", { headers: { "content-type": "text/csv" } }), 415, /Unsupported Media Type/],
    [await post("x".repeat(5 * 1024 * 1024)), 413, /too large/],
    [await post(`{"a":"${"x".repeat(300_000)}"}`), 400, /^line 1: the entry is 300008 bytes long/],
    [await post("{}\n".repeat(10_001)), 400, /^line 10001: more than 10000 entries/],
  ] as const;
  for (const [answer, status, message] of cases) {
    assert.match(answer.body.error.message, message);
    assert.equal(answer.status, status, answer.body.error.message);
  }
  assert.equal(store.stored.length, 0);
  assert.ok((deadLetters.countByCode.get("invalid-entry") ?? 0) >= 7);
});

test("refused messages can be looked at", async (t) => {
  const { post, url } = await start(t);
  await post("nonsense");
  const answer = (await (await fetch(`${url}/v1/dead-letters`)).json()) as {
    counts: Record<string, number>;
    letters: { excerpt: string }[];
  };
  assert.deepEqual(answer.counts, { "invalid-entry": 1 });
  assert.equal(answer.letters[0]?.excerpt, "nonsense");
});

test("I19: once its reason is gone a refused request is taken as it was, with the time at which it came", async (t) => {
  const { store, streams, post, url, deadLetters } = await start(t);
  const retry = async (query = "") => {
    const answer = await fetch(`${url}/v1/dead-letters/retry${query}`, { method: "POST" });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  const before = Date.now();
  await post('{"kg":1}\n{"kg":2,"$at":1000}', { stream: "scales" });
  await post("nonsense");
  const after = Date.now();
  assert.deepEqual((await retry("?code=stream-unknown")).body, {
    ...{ stored: 0, refused: 1, skipped: 0, left: 0 },
  });
  assert.equal(deadLetters.list().length, 2);
  streams.push({ name: "scales", durability: { level: "local" }, mqttTopics: [] });
  assert.deepEqual((await retry()).body, { stored: 1, refused: 0, skipped: 1, left: 0 });
  assert.deepEqual(store.bodies(), [{ kg: 1 }, { kg: 2 }]);
  const [first, second] = store.stored.map(({ atMs }) => atMs ?? 0);
  assert.ok(first !== undefined && first >= before && first <= after);
  assert.equal(second, 1000);
  assert.deepEqual(
    deadLetters.list().map(({ code, retryable }) => [code, retryable]),
    [["invalid-entry", false]],
  );
  const wrong = await retry("?topic=x");
  assert.equal(wrong.status, 400);
  assert.match(JSON.stringify(wrong.body), /known are id, code, stream, source/);
});

test("I6: damaged NDJSON is answered with 200 or 400, all or nothing (seed 5)", async (t) => {
  const { store, post } = await start(t);
  const random = seededRandom(5);
  for (let round = 0; round < 200; round++) {
    const lines = Array.from({ length: 1 + random.integer(5) }, (_, i) =>
      JSON.stringify({ i, text: "grüße" }),
    );
    const body = Uint8Array.from(Buffer.from(`${lines.join("\n")}\n`));
    for (let flips = random.integer(4); flips > 0; flips--)
      body[random.integer(body.length)] = random.integer(256);
    const before = store.stored.length;
    const answer = await post(body);
    assert.ok(answer.status === 200 || answer.status === 400, `round ${round}: ${answer.status}`);
    const stored = store.stored.length - before;
    assert.equal(stored, answer.status === 200 ? answer.body.stored : 0);
  }
});
