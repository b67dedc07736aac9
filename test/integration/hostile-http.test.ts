/** Hostile HTTP against the gateway with the ingest routes: malformed, slow, oversized, too many. */
import { strict as assert } from "node:assert";
import { test, type TestContext } from "node:test";
import { createGateway, type GatewayLimits } from "../../src/gateway/index.ts";
import { createBatcher, createDeadLetters, httpIngestRoutes } from "../../src/ingest/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import type { Routes } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { gatewayAnswer } from "../support/gateway-answer.ts";
import { closed, damage, hostileSeed, rawSocket } from "../support/hostile.ts";
import { createTestStore } from "../support/ingest.ts";
import { waitFor } from "../support/wait.ts";

const streams = [{ name: "s", durability: { level: "local" }, mqttTopics: [] }] as const;

async function start(t: TestContext, limits: Partial<GatewayLimits> = {}, more: Routes[] = []) {
  const store = createTestStore();
  const metrics = createMetrics();
  const clock = systemClock;
  const deadLetters = createDeadLetters({ clock });
  const intake = createBatcher({ append: store.append, clock, metrics });
  let verified = 0;
  const gateway = await createGateway(
    {
      authenticate: async (token) => {
        verified++;
        return token.startsWith("good") ? { id: `spiffe://c.skerry/app/${token}` } : undefined;
      },
      routes: [
        httpIngestRoutes({
          append: store.append,
          intake,
          streams: () => streams,
          deadLetters,
          clock,
          metrics,
        }),
        ...more,
      ],
      clock,
      log: silentLog,
      metrics,
    },
    { host: "127.0.0.1", port: 0, limits },
  );
  t.after(() => gateway.stop());
  const call = async (path: string, init: RequestInit = {}, token = "good") => {
    const headers = { authorization: `Bearer ${token}`, ...(init.headers as object) };
    return gatewayAnswer(await fetch(`${gateway.url}${path}`, { ...init, headers }));
  };
  const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
    call("/v1/streams/s/entries", {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", ...headers },
      body,
    });
  /** Of a metric, all labels summed unless some are given. */
  const metric = async (name: string, labels = "") => {
    const lines = (await metrics.render()).split("\n");
    return lines
      .filter((line) => line.startsWith(name) && !line.startsWith("#") && line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  };
  const refusals = (reason: string) =>
    metric("skerry_gateway_refusals_total", `reason="${reason}"`);
  return { gateway, store, call, post, metric, refusals, verified: () => verified, deadLetters };
}

const request = (body: string, more = "") =>
  `POST /v1/streams/s/entries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n` +
  `content-type: application/x-ndjson\r\n${more}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

/** The bodies of all answers on one connection whose status is an error. */
function errorBodies(received: string): string[] {
  return received
    .split(/(?=HTTP\/1\.1 \d{3} )/)
    .filter((answer) => /^HTTP\/1\.1 [45]/.test(answer))
    .map((answer) => answer.slice(answer.indexOf("\r\n\r\n") + 4));
}

test(`G4: damaged requests are answered in the one shape or cut off, and leave nothing behind (seed ${hostileSeed})`, async (t) => {
  const { gateway, metric, post } = await start(t, {
    headersTimeoutMs: 500,
    requestTimeoutMs: 1000,
  });
  const random = seededRandom(hostileSeed);
  const good = [
    request('{"a":1}\n{"a":2}\n'),
    request("", "transfer-encoding: chunked\r\n").replace(/content-length: 0\r\n/, "") +
      '7\r\n{"a":1}\r\n0\r\n\r\n',
    "GET /v1/dead-letters HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n",
    request('{"a":1}', "content-length: 3\r\n"),
    request('{"a":1}', "transfer-encoding: chunked\r\n"),
    `GET /${"%".repeat(50)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    `GET / HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}\r\n\r\n`,
    "GET / HTTP/0.9\r\n\r\n",
    "\u0016\u0003\u0001\u0002\u0000\u0001",
  ];
  let answers = 0;
  for (let round = 0; round < 20; round++) {
    const sockets = good.map((text) => {
      const socket = rawSocket(t, gateway.port);
      const bytes = Buffer.from(text, "latin1");
      socket.end(round === 0 ? bytes : damage(random, bytes));
      return socket;
    });
    await Promise.all(sockets.map(closed));
    for (const socket of sockets) {
      for (const body of errorBodies(socket.received())) {
        answers++;
        const { error } = JSON.parse(body) as { error: { code: string; message: string } };
        assert.match(error.code, /^[a-z-]+$/, `seed ${hostileSeed}, round ${round}: ${body}`);
        assert.ok(error.message.length < 400, `seed ${hostileSeed}: ${error.message}`);
      }
    }
  }
  assert.ok(answers > 50, `${answers} errors were looked at`);
  await waitFor(async () => (await post('{"alive":true}')).status === 200, {
    what: "an answer inside its time",
  });
  await waitFor(async () => (await metric("skerry_gateway_request_bytes")) === 0, {
    what: "all memory to be given back",
  });
  assert.equal(await metric("skerry_ingest_waiting_bytes"), 0);
});

test("G4: what is too large, too late or not HTTP at all is named and counted", async (t) => {
  const hurried = { headersTimeoutMs: 100, requestTimeoutMs: 200 };
  for (const [bytes, status, code] of [
    [`GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`, 431, "headers-too-large"],
    ["\u0000\u0001\u0002", 400, "invalid-request"],
    ["GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", 408, "request-timeout"],
    [request("x".repeat(50)).slice(0, -20), 408, "request-timeout"],
  ] as const) {
    // Only what shall be too late can be.
    const { gateway, refusals } = await start(t, status === 408 ? hurried : {});
    const socket = rawSocket(t, gateway.port);
    socket.write(bytes, "latin1");
    await closed(socket);
    assert.ok(socket.received().startsWith(`HTTP/1.1 ${status} `), socket.received());
    assert.equal(JSON.parse(errorBodies(socket.received())[0] ?? "").error.code, code);
    assert.ok((await refusals(code)) >= 1);
  }
});

test("G5: compressed bodies are refused: a gzip bomb is never unpacked", async (t) => {
  const { post, store } = await start(t);
  const answer = await post("{}", { "content-encoding": "gzip" });
  assert.deepEqual([answer.status, answer.body.error.code], [415, "invalid-content-encoding"]);
  assert.equal(store.stored.length, 0);
});

test("G6: requests under way are bounded in bytes for each subject; others are served; all is given back", async (t) => {
  const { gateway, post, call, refusals, metric } = await start(t, { subjectBytesMax: 100_000 });
  const stalled = rawSocket(t, gateway.port);
  stalled.write(
    "POST /v1/streams/s/entries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n" +
      "content-type: application/x-ndjson\r\ncontent-length: 70000\r\n\r\n{",
  );
  await waitFor(async () => (await metric("skerry_gateway_request_bytes")) > 70_000, {
    what: "the stalled request to be counted",
  });
  const second = await post("x".repeat(30_000));
  assert.deepEqual([second.status, second.body.error.code], [429, "rate-limited"]);
  assert.match(second.body.error.message, /app\/good has requests of 100000 bytes under way/);
  assert.ok(second.headers.has("retry-after"));
  assert.equal(await refusals("rate-limited"), 1);
  assert.equal((await call("/v1/dead-letters", {}, "good-other")).status, 200);
  stalled.destroy();
  await waitFor(async () => (await metric("skerry_gateway_request_bytes")) === 0, {
    what: "the stalled request's bytes to be given back",
  });
  assert.equal((await post('{"a":1}')).status, 200);
});

test("G7: a reader that takes nothing of its answer is closed; one that waits for entries is not", async (t) => {
  const go = Promise.withResolvers<void>();
  const routes: Routes = (app) => {
    app.get("/large", (_request, reply) => reply.send("x".repeat(30 * 1024 * 1024)));
    app.get("/follow", (_request, reply) => {
      reply.hijack();
      reply.raw.write("first\n");
      void go.promise.then(() => reply.raw.end("last\n"));
    });
  };
  const { gateway, refusals } = await start(t, { stallTimeoutMs: 1000 }, [routes]);
  const get = (path: string) => {
    const socket = rawSocket(t, gateway.port);
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n`);
    return socket;
  };
  const follower = get("/follow");
  await waitFor(() => follower.received().includes("first"), { what: "the first line" });
  const slow = get("/large");
  slow.pause();
  await waitFor(async () => (await refusals("slow-reader")) === 1, {
    what: "the slow reader to be closed",
    timeoutMs: 30_000,
  });
  go.resolve();
  await waitFor(() => follower.received().includes("last"), { what: "the last line" });
});

test("G8: idle connections give way to newcomers; where all are in use a newcomer is told", async (t) => {
  const held = Promise.withResolvers<void>();
  let arrived = 0;
  const routes: Routes = (app) => {
    app.get("/held", async () => {
      arrived++;
      await held.promise;
      return {};
    });
  };
  const { gateway, refusals, metric } = await start(t, { connectionsMax: 3 }, [routes]);
  const idle = [rawSocket(t, gateway.port), rawSocket(t, gateway.port), rawSocket(t, gateway.port)];
  await waitFor(async () => (await metric("skerry_gateway_connections")) === 3, { what: "three" });
  const get = (path: string) => {
    const socket = rawSocket(t, gateway.port);
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n`);
    return socket;
  };
  const busy = [get("/held"), get("/held"), get("/held")];
  await Promise.all(idle.map(closed));
  await waitFor(() => arrived === 3, { what: "three requests under way" });
  assert.equal(await refusals("idle-closed"), 3);
  const fourth = get("/healthz-not");
  await closed(fourth);
  assert.match(fourth.received(), /^HTTP\/1\.1 503 .*retry-after: 1.*too-many-connections/s);
  assert.equal(await refusals("too-many-connections"), 1);
  held.resolve();
  for (const socket of busy)
    await waitFor(() => socket.received().startsWith("HTTP/1.1 200"), { what: "an answer" });
});

test("G9: an address that sends many bad tokens is not verified any more; tokens known as good are", async (t) => {
  const { call, verified, refusals } = await start(t);
  assert.equal((await call("/v1/dead-letters")).status, 200);
  const statuses = new Map<number, number>();
  // At once, and so many that what is allowed anew each second cannot cover them.
  const bad = Array.from({ length: 300 }, (_, i) => call("/v1/dead-letters", {}, `bad-${i}`));
  for (const { status } of await Promise.all(bad))
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  assert.ok((statuses.get(429) ?? 0) > 0, JSON.stringify([...statuses]));
  assert.equal(verified(), 1 + (statuses.get(401) ?? 0));
  assert.ok((await refusals("rate-limited")) > 0);
  assert.equal((await call("/v1/dead-letters")).status, 200);
});

test("a connection that pipelines more requests than it may is closed", async (t) => {
  const held = Promise.withResolvers<void>();
  const routes: Routes = (app) => {
    app.get("/held", () => held.promise);
  };
  const { gateway, refusals } = await start(t, { pipelinedMax: 4 }, [routes]);
  const socket = rawSocket(t, gateway.port);
  socket.write("GET /held HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n".repeat(50));
  await closed(socket);
  assert.equal(await refusals("too-many-pipelined"), 1);
  held.resolve();
});

test("I4: hostile NDJSON is refused with line, field and what is allowed; nothing of its request is stored", async (t) => {
  const { post, store, deadLetters } = await start(t);
  const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  for (const [body, message] of [
    ['{"a":1}\n{"a":', /^line 2: the entry is not JSON in UTF-8/],
    ['{"a":1}\n"text"\n', /^line 2: the entry must be a JSON object, got a string/],
    [Uint8Array.of(0x7b, 0xff, 0x7d), /^line 1: the entry is not JSON in UTF-8/],
    ["{}\u0000", /^line 1: the entry is not JSON/],
    [`{"$at":1,${deep.slice(1)}`, /nested deeper than/],
    [deep, /nested deeper than/],
    [`{"a":"${"x".repeat(300_000)}"}`, /at most 262144 are taken/],
    ['{"$key":{"producer":"p","epoch":1e400,"sequence":1}}', /^line 1: \$key\.epoch must be/],
  ] as const) {
    const answer = await post(body as string);
    assert.equal(answer.status, 400, String(message));
    assert.equal(answer.body.error.code, "invalid-entry");
    assert.match(answer.body.error.message, message);
    assert.match(answer.body.error.hint, /nothing of this request was stored/);
  }
  assert.equal(store.stored.length, 0);
  assert.equal(deadLetters.countByCode.get("invalid-entry"), 8);
});

test("hostile names and numbers inside an entry are data: they come out as they went in", async (t) => {
  const { post, store } = await start(t);
  const lines = [
    '{"__proto__":{"polluted":1},"constructor":1}',
    '{"a":1,"a":2}',
    '{"n":123456789012345678901234567890,"m":1e400}',
    '{"s":"\\ud800"}',
    '{"nul":"\\u0000"}',
  ];
  assert.equal((await post(lines.join("\n"))).status, 200);
  assert.deepEqual(
    store.stored.map(({ body }) => new TextDecoder().decode(body)),
    lines,
  );
  await post('{"__proto__":{"polluted":1},"$at":5}');
  assert.equal(new TextDecoder().decode(store.stored.at(-1)?.body), '{"__proto__":{"polluted":1}}');
  assert.equal(({} as { polluted?: number }).polluted, undefined);
});

test("I13: a dead letter shows what was sent only to who sent it", async (t) => {
  const { post, call } = await start(t);
  await post('{"secret":"s3cr3t"');
  const lettersOf = async (token: string) =>
    (await call("/v1/dead-letters", {}, token)).body.letters as Record<string, unknown>[];
  const [own] = await lettersOf("good");
  assert.match(String(own?.["excerpt"]), /s3cr3t/);
  const [seen] = await lettersOf("good-other");
  assert.equal(seen?.["code"], "invalid-entry");
  assert.ok(!JSON.stringify(seen).includes("s3cr3t"));
});
