/** What every registry tells by itself. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { waitFor } from "../support/wait.ts";

const delayOf = (text: string, quantile: string) =>
  Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`skerry_event_loop_delay_seconds{quantile="${quantile}"`))
      ?.split(" ")
      .at(-1),
  );

test("metrics: a blocked event loop shows in the next scrape and is gone from the one after", async () => {
  const metrics = createMetrics();
  assert.equal(
    delayOf(await metrics.render(), "1"),
    0,
    "nothing was measured before anybody asked",
  );
  await waitFor(
    async () => {
      const endMs = performance.now() + 200;
      while (performance.now() < endMs);
      await new Promise((resolve) => setTimeout(resolve, 30));
      return delayOf(await metrics.render(), "1") > 0.1;
    },
    { what: "a delay of more than 100 ms", timeoutMs: 30_000 },
  );
  assert.ok(delayOf(await metrics.render(), "0.99") >= 0);
});

test("metrics: the process's own weight is read at the scrape, and collectors run before it", async () => {
  const metrics = createMetrics();
  const gauge = metrics.gauge("skerry_test_things", "Things.");
  let things = 0;
  metrics.beforeRender(async () => gauge.set(++things));
  const text = await metrics.render();
  for (const name of [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_threads",
    "process_start_time_seconds",
  ])
    assert.ok(Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]) > 0, name);
  assert.match(text, /^# TYPE process_cpu_seconds_total counter$/m);
  assert.match(text, /^skerry_test_things 1$/m);
  assert.match(await metrics.render(), /^skerry_test_things 2$/m);
  metrics.beforeRender(() => Promise.reject(new Error("the store does not answer")));
  await assert.rejects(metrics.render(), /does not answer/);
});
