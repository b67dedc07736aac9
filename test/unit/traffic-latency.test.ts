import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createLatency, methodClass } from "../../src/traffic/engines/node/latency.ts";
import { createTrafficMetrics } from "../../src/traffic/metrics.ts";
import { sumOf } from "../support/traffic.ts";

test("latencies reach the metric with their buckets and their sum, once", async () => {
  const latency = createLatency();
  const metrics = createMetrics();
  const traffic = createTrafficMetrics(metrics);
  const read = `${methodClass("HEAD")}:2xx` as const;
  for (const seconds of [0.001, 0.002, 0.0024, 0.7, 1000]) latency.record(read, seconds);
  latency.record(`${methodClass("DELETE")}:5xx`, 3);
  traffic.observe(latency.take() ?? {});
  assert.equal(latency.take(), undefined);

  const text = await metrics.render();
  const name = "skerry_ingress_request_seconds";
  const within = (bound: string) =>
    sumOf(text, `${name}_bucket`, `le="${bound}",method="read",outcome="2xx"`);
  assert.deepEqual(["0.001", "0.0025", "0.5", "1", "30", "+Inf"].map(within), [1, 3, 3, 4, 4, 5]);
  assert.ok(Math.abs(sumOf(text, `${name}_sum`, 'method="read"') - 1000.7054) < 1e-6);
  assert.equal(sumOf(text, `${name}_sum`, 'method="write",outcome="5xx"'), 3);
});
