import { strict as assert } from "node:assert";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import {
  createGateway,
  type GatewayDependencies,
  type GatewayLimits,
} from "../../src/gateway/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import type { Routes } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createRateLimiter } from "../../src/gateway/token-bucket.ts";
import { gatewayAnswer } from "../support/gateway-answer.ts";
import { waitFor } from "../support/wait.ts";

const gate = () => Promise.withResolvers<void>();

async function start(
  t: TestContext,
  {
    limits = {},
    deps = {},
  }: { limits?: Partial<GatewayLimits>; deps?: Partial<GatewayDependencies> } = {},
) {
  const slow = gate();
  let slowCalls = 0;
  const routes: Routes = (app) => {
    app.get("/v1/things/:name", { config: { openapi: { summary: "A thing" } } }, (request, reply) =>
      reply.send(request.params),
    );
    app.post("/v1/things", (request, reply) => reply.send(request.body));
    app.get("/slow", async () => {
      slowCalls++;
      await slow.promise;
      return { slow: true };
    });
    app.get("/broken", async () => {
      throw new Error("secret of the inside");
    });
    app.get("/busy", async () => {
      throw new SkerryError({ code: "store-busy", message: "busy", retryable: true });
    });
  };
  const gateway = await createGateway(
    {
      authenticate: async (token) =>
        token.startsWith("good") ? { id: `spiffe://c.skerry/app/${token}` } : undefined,
      routes: [routes],
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics(),
      ...deps,
    },
    { host: "127.0.0.1", port: 0, limits },
  );
  t.after(() => {
    slow.resolve();
    return gateway.stop();
  });
  const call = async (
    path: string,
    { token = "good", ...init }: RequestInit & { token?: string } = {},
  ) => {
    const response = await fetch(`${gateway.url}${path}`, {
      ...init,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(init.headers as object),
      },
    });
    return gatewayAnswer(response);
  };
  return { gateway, call, slow, slowCalls: () => slowCalls };
}

test("G1: only the health of the node is told without a good token", async (t) => {
  let reason: string | undefined = "desired state is not known yet";
  const { call } = await start(t, { deps: { notReady: () => reason } });
  for (const path of ["/healthz", "/livez"])
    assert.deepEqual((await call(path, { token: "" })).body, { ok: true });
  const early = await call("/readyz", { token: "" });
  assert.equal(early.status, 503);
  assert.equal(early.body.error.message, reason);
  reason = undefined;
  assert.deepEqual((await call("/readyz", { token: "" })).body, { ok: true });
  for (const token of ["", "bad", "good;drop"]) {
    for (const path of ["/v1/things/a", "/openapi.json", "/nothing"]) {
      const answer = await call(path, { token });
      assert.equal(answer.status, 401);
      assert.equal(answer.body.error.code, "unauthenticated");
      assert.equal(answer.headers.get("www-authenticate"), "Bearer");
    }
  }
  assert.deepEqual((await call("/v1/things/a")).body, { name: "a" });
});

test("G1: what a subject may not call is 403 and names both", async (t) => {
  const { call } = await start(t, {
    deps: {
      authorize: ({ route, parameters }) =>
        route !== "/v1/things/:name" || parameters["name"] === "mine",
    },
  });
  assert.equal((await call("/v1/things/mine")).status, 200);
  const answer = await call("/v1/things/yours");
  assert.equal(answer.status, 403);
  assert.equal(
    answer.body.error.message,
    "spiffe://c.skerry/app/good may not GET /v1/things/yours",
  );
});

test("G2: too many requests are 429 for that subject only", async (t) => {
  const { call } = await start(t, { limits: { requestsPerSecond: 0.01, requestsBurst: 2 } });
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push((await call("/v1/things/a")).status);
  assert.deepEqual(statuses, [200, 200, 429]);
  const other = await call("/v1/things/a", { token: "good-2" });
  assert.equal(other.status, 200);
});

test("G2: a token bucket refills with time and forgets the key used longest ago", async () => {
  const clock = createSimulatedClock();
  const limiter = createRateLimiter({ clock }, { perSecond: 2, burst: 3, keysMax: 2 });
  const taken = (key: string, times: number) =>
    Array.from({ length: times }, () => limiter.take(key).ok).filter(Boolean).length;
  assert.equal(taken("a", 5), 3);
  assert.deepEqual(limiter.take("a"), { ok: false, waitMs: 500 });
  await clock.advance(1000);
  assert.equal(taken("a", 5), 2);
  taken("b", 1);
  taken("c", 1);
  assert.equal(taken("a", 5), 3);
});

test("G2: a body that is too large is refused, and the connection limits hold", async (t) => {
  const { call } = await start(t, { limits: { bodyBytesMax: 1000 } });
  const answer = await call("/v1/things", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify("x".repeat(2000)),
  });
  assert.equal(answer.status, 413);
  assert.equal(answer.body.error.code, "body-too-large");
});

test("G2: a client that never ends its headers is cut off", async (t) => {
  const { gateway } = await start(t, { limits: { headersTimeoutMs: 500 } });
  const socket = connect(gateway.port, "127.0.0.1");
  t.after(() => socket.destroy());
  // Cut off before its bytes were read, it is reset behind the answer.
  socket.on("error", () => undefined);
  socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  await new Promise((resolve) => socket.once("close", resolve));
  assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 408 /);
});

test("G3: stop answers what is under way, refuses what is new, and closes every connection", async (t) => {
  const { gateway, call, slow, slowCalls } = await start(t);
  const underWay = call("/slow");
  await waitFor(() => slowCalls() === 1, { what: "the slow request to arrive" });
  const stopping = gateway.stop();
  const refused = await call("/v1/things/a");
  assert.deepEqual([refused.status, refused.body.error.code], [503, "stopping"]);
  slow.resolve();
  assert.deepEqual((await underWay).body, { slow: true });
  await stopping;
  await assert.rejects(call("/healthz"));
});

test("G3: a request that does not end is cut off after the drain time", async (t) => {
  const { gateway, call, slowCalls } = await start(t, { limits: { drainMs: 30 } });
  const underWay = assert.rejects(call("/slow"));
  await waitFor(() => slowCalls() === 1, { what: "the slow request to arrive" });
  await gateway.stop();
  await underWay;
});

test("G4: refusals have the one shape and tell nothing of the inside", async (t) => {
  const { call } = await start(t);
  assert.deepEqual((await call("/broken")).body, {
    error: { code: "internal", message: "internal error; see the log", retryable: false },
  });
  assert.equal((await call("/busy")).status, 429);
  assert.equal((await call("/nothing")).body.error.code, "route-unknown");
  const broken = await call("/v1/things", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{",
  });
  assert.deepEqual([broken.status, broken.body.error.code], [400, "invalid-request"]);
});

type OpenApiOperation = { summary: string; parameters: { name: string }[] };

test("the OpenAPI document lists what is mounted", async (t) => {
  const { call } = await start(t);
  const { body } = await call("/openapi.json");
  assert.equal(body.openapi, "3.1.0");
  const paths = body.paths as Record<string, { get: OpenApiOperation }>;
  assert.deepEqual(Object.keys(paths), [
    "/v1/things/{name}",
    "/v1/things",
    "/slow",
    "/broken",
    "/busy",
    "/livez",
    "/healthz",
    "/readyz",
    "/openapi.json",
  ]);
  const operation = paths["/v1/things/{name}"]?.get;
  assert.equal(operation?.summary, "A thing");
  assert.equal(operation?.parameters[0]?.name, "name");
});

test("a port in use is named", async (t) => {
  const { gateway } = await start(t);
  await assert.rejects(
    createGateway(
      {
        authenticate: async () => undefined,
        routes: [],
        clock: systemClock,
        log: silentLog,
        metrics: createMetrics(),
      },
      { host: "127.0.0.1", port: gateway.port },
    ),
    { code: "port-in-use" },
  );
});
