/** What a hub says of itself while its store hangs, or its authority's key does not sign. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { FleetStatus } from "../../src/api/index.ts";
import { mountMetrics } from "../../src/hub/paths/metrics-path.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";

test("a hub whose database hangs lives and is not ready: /readyz answers within a second", async (t) => {
  const app = createHttpApp();
  t.after(() => app.close());
  const clock = createSimulatedClock();
  let status = new Promise<FleetStatus>(() => {});
  const collections = async () => [];
  mountMetrics(app, { name: "h", version: "1", clock, status: () => status, collections });
  await app.ready();
  const asked = app.inject({ method: "GET", url: "/readyz" });
  assert.equal((await app.inject({ method: "GET", url: "/livez" })).statusCode, 200);
  await clock.advance(1000);
  const reply = await asked;
  assert.equal(reply.statusCode, 503);
  assert.equal(reply.json().error.code, "not-ready");
  status = Promise.resolve({ hub: "h", cells: [] } as unknown as FleetStatus);
  assert.equal((await app.inject({ method: "GET", url: "/readyz" })).statusCode, 200);
});

test("a hub whose authority's key does not sign is ready, and its metrics say so", async (t) => {
  const app = createHttpApp();
  t.after(() => app.close());
  const clock = createSimulatedClock();
  let keyFailure: FleetStatus["keyFailure"];
  mountMetrics(app, {
    ...{ name: "h", version: "1", clock },
    status: async () => ({ hub: "h", cells: [], ...(keyFailure && { keyFailure }) }),
    collections: async () => [],
  });
  await app.ready();
  const signs = async () =>
    /^skerry_hub_authority_signs\{.*\} (\d)$/m.exec(
      (await app.inject({ method: "GET", url: "/metrics" })).body,
    )?.[1];
  assert.equal(await signs(), "1");
  keyFailure = { why: "away", forMs: 1 };
  assert.equal(await signs(), "0");
  assert.equal((await app.inject({ method: "GET", url: "/readyz" })).statusCode, 200);
});
