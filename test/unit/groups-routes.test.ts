/** Consumer groups below the gateway's routes, over a store in this process. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createGroupRoutes, openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { entry, range, telemetry, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

async function call(url: string, method: string, body?: object) {
  const answer = await fetch(url, {
    method,
    ...(body ? { headers: { "content-type": "application/json" } } : {}),
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
}

test("C1: what was taken for a member that left meanwhile is given back; where its group is gone nothing happens", async () => {
  using folder = temporaryFolder();
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: `${folder.path}/s.db`, node: "n1" },
  );
  await store.setStreams([telemetry]);
  await store.append(range(1, 10).map((sequence) => entry(sequence)));
  let taking = Promise.withResolvers<void>();
  let answered = Promise.withResolvers<void>();
  let left = Promise.withResolvers<void>();
  const releases: Promise<boolean>[] = [];
  const groups: typeof store.groups = {
    ...store.groups,
    async take(id, options) {
      const taken = await store.groups.take(id, options);
      if (options.member !== "leaver") return taken;
      taking.resolve();
      await answered.promise;
      return taken;
    },
    release(id, delivery) {
      const released = store.groups.release(id, delivery);
      releases.push(released);
      return released;
    },
  };
  const app = createHttpApp();
  app.addHook("onRequest", (_request, reply, done) => {
    reply.raw.once("close", () => {
      if (!reply.raw.writableFinished) left.resolve();
    });
    done();
  });
  createGroupRoutes({ on: store.on, groups }, { clock: systemClock })(app);
  const at = `${await app.listen({ host: "127.0.0.1", port: 0 })}/v1/streams/telemetry/groups/g`;
  try {
    for (const isGone of [false, true]) {
      assert.equal((await call(at, "PUT")).status, 201);
      taking = Promise.withResolvers();
      answered = Promise.withResolvers();
      left = Promise.withResolvers();
      const control = new AbortController();
      const asked = fetch(`${at}/take`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"member":"leaver"}',
        signal: control.signal,
      });
      await taking.promise;
      control.abort();
      await assert.rejects(asked);
      await left.promise;
      if (isGone) assert.equal((await call(at, "DELETE")).status, 204);
      answered.resolve();
      await waitFor(() => releases.length > 0, { what: "the batch to be given back" });
      const [release] = releases.splice(0);
      assert.ok(release);
      // Were it nobody's, this rejection would end the process.
      if (isGone) await assert.rejects(release, { code: "group-unknown" });
      else assert.equal(await release, true);
      if (isGone) continue;
      const { body } = await call(`${at}/take`, "POST", {});
      assert.deepEqual([body.entries.length, body.attempt], [10, 2]);
      assert.equal((await call(at, "DELETE")).status, 204);
    }
    assert.equal((await call(at, "GET")).status, 404);
  } finally {
    await app.close();
    await store.close();
  }
});
