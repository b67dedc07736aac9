/** `skerry/client` against a gateway over real HTTP: on a server, and on a node that passes requests on. */
import { strict as assert } from "node:assert";
import { createServer } from "node:http";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createCoordination, type CoordinationClient } from "../../src/client/index.ts";
import type { Coordination } from "../../src/ledger/applications/index.ts";
import { patientMs, startGateway, startService } from "../support/coordination.ts";
import { remoteOf, startServer } from "../support/coordination-remote.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const ttlMs = patientMs;

async function startLedger(t: TestContext) {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  return ledger;
}

async function connect(t: TestContext, coordination: Coordination): Promise<CoordinationClient> {
  const { url } = await startGateway(t, coordination);
  return createCoordination({
    gateway: url,
    token: async () => "good-a\n",
    timeoutMs: patientMs,
  });
}

const places: Record<string, (t: TestContext, service: Coordination) => Promise<Coordination>> = {
  "on a server": async (_t, service) => service,
  "on a node that is no server": async (t, service) => remoteOf([await startServer(t, service)]),
};

for (const [place, at] of Object.entries(places)) {
  test(`keys, lists and watches ${place}`, async (t) => {
    const ledger = await startLedger(t);
    const client = await connect(t, await at(t, startService(t, ledger)));
    assert.equal(await client.get("a"), undefined);
    const made = await client.cas("a", 0, "one");
    assert.ok(made.state === "done");
    const entry = await client.get("a");
    assert.deepEqual(
      [entry?.text(), entry?.modRevision, entry?.version],
      ["one", made.revision, 1],
    );
    const refused = await client.cas("a", made.revision - 1, "two");
    assert.ok(refused.state === "refused" && refused.reason === "condition-failed");
    assert.equal(refused.current?.text(), "one");

    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { events } of client.watch("", {
        after: made.revision,
        signal: stop.signal,
      }))
        for (const event of events)
          seen.push(event.type === "put" ? `${event.entry.key}=${event.entry.text()}` : event.key);
    })();
    await client.put("b/ü".replace("ü", "u"), new Uint8Array([104, 105]));
    await client.delete("a", { ifRevision: made.revision });
    await waitFor(() => seen.length === 2, { what: "two changes", timeoutMs: patientMs });
    assert.deepEqual(seen, ["b/u=hi", "a"]);
    stop.abort();
    await watching;

    for (let index = 0; index < 18; index++) await client.put(`many/${index}`, "x".repeat(60_000));
    const { items } = await client.list("many/");
    assert.equal(items.length, 18);
    assert.equal(new Set(items.map(({ key }) => key)).size, 18);
    await assert.rejects(client.put("no key/", "x"), { code: "invalid-request" });
    await assert.rejects(client.put("k", "x", { session: "gone" }), { code: "session-unknown" });
  });

  test(`locks, elections and sessions ${place}`, async (t) => {
    const ledger = await startLedger(t);
    const client = await connect(t, await at(t, startService(t, ledger)));
    const first = await client.lock("door", { value: "me", ttlMs });
    assert.equal((await client.holder("door"))?.value, "me");
    await assert.rejects(client.lock("door", { waitMs: 0, ttlMs }), { code: "lock-held" });
    const waiting = client.lock("door", { ttlMs });
    assert.equal((await client.put("k", "1", { fence: first.fence })).state, "done");
    await first.release();
    assert.ok(first.lost.aborted);
    const second = await waiting;
    assert.ok(second.token > first.token);
    const late = await client.put("k", "2", { fence: first.fence });
    assert.ok(late.state === "refused" && late.reason === "fence-lost");
    assert.equal(late.holder?.token, second.token);
    await second.release();
    assert.equal(
      await client.withLock("door", async ({ token }) => token > second.token, { ttlMs }),
      true,
    );
    assert.equal(await client.holder("door"), undefined);

    const stop = new AbortController();
    const leaders: (string | undefined)[] = [];
    const observing = (async () => {
      for await (const { leader } of client.observe("main", { signal: stop.signal }))
        leaders.push(leader?.value);
    })();
    const session = await client.session({ ttlMs });
    const one = await client.elect("main", { value: "one", session });
    const next = client.elect("main", { value: "two", ttlMs });
    assert.equal((await client.leader("main"))?.value, "one");
    await one.resign();
    const two = await next;
    await waitFor(() => leaders.at(-1) === "two", {
      what: "the second leader",
      timeoutMs: patientMs,
    });
    assert.ok(!session.lost.aborted);
    await two.resign();
    await waitFor(() => leaders.length > 1 && leaders.at(-1) === undefined, {
      what: "no leader",
      timeoutMs: patientMs,
    });
    assert.ok(leaders.includes("one"));
    stop.abort();
    await observing;
    await client.put("mine", "x", { session });
    assert.equal(await session.end(), "ended");
    assert.equal(await client.get("mine"), undefined);
  });
}

test("a watch goes on over a gateway that goes away and comes back, without a gap", async (t) => {
  const ledger = await startLedger(t);
  const service = startService(t, ledger);
  const gateways = [await startGateway(t, service), await startGateway(t, service)];
  let current = 0;
  const client = createCoordination({
    gateway: "http://cell",
    token: "good-a",
    timeoutMs: patientMs,
    // The address that an application holds: whichever gateway stands behind it now.
    fetch: (url, init) =>
      fetch(String(url).replace("http://cell", gateways[current]?.url ?? ""), init),
  });
  const stop = new AbortController();
  const seen: number[] = [];
  const watching = (async () => {
    for await (const { events } of client.watch("n/", { after: 0 as number, signal: stop.signal }))
      for (const event of events) if (event.type === "put") seen.push(Number(event.entry.text()));
  })();
  for (let index = 0; index < 5; index++) await client.put("n/x", String(index));
  await waitFor(() => seen.length === 5, { what: "five changes", timeoutMs: patientMs });
  current = 1;
  await gateways[0]?.stop();
  for (let index = 5; index < 10; index++) await client.put("n/x", String(index));
  await waitFor(() => seen.length === 10, { what: "ten changes", timeoutMs: patientMs });
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await ledger.compact((await client.list("")).revision as Parameters<typeof ledger.compact>[0]);
  await assert.rejects(
    (async () => {
      for await (const batch of client.watch("n/", { after: 1 })) assert.fail(String(batch));
    })(),
    { code: "compacted" },
  );
  stop.abort();
  await watching;
});

test("C3: what the network does to a write is unknown, unless it was surely not sent", async (t) => {
  const answers: ((response: import("node:http").ServerResponse) => void)[] = [
    (response) => response.destroy(),
    (response) => response.writeHead(502).end("<html>bad gateway</html>"),
    (response) => response.writeHead(503).end("from a proxy"),
    (response) => void response,
    (response) =>
      response
        .writeHead(503, { "content-type": "application/json" })
        .end(JSON.stringify({ error: { code: "server-lost", message: "x", retryable: true } })),
  ];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://gateway");
    answers[Number(pathname.at(-1))]?.(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  // Only the one without an answer is given up for its time.
  const put = (index: number, timeoutMs = patientMs) =>
    createCoordination({ gateway: `http://127.0.0.1:${port}`, token: "t", timeoutMs }).put(
      `k${index}`,
      "v",
    );
  for (const index of [0, 1, 2])
    assert.equal((await put(index)).state, "unknown", `answer ${index}`);
  assert.equal((await put(3, 500)).state, "unknown", "no answer");
  await assert.rejects(put(4), { code: "server-lost" });
  // Nobody ever listened there: nothing can have been sent.
  const nobody = createServer();
  // An address of its own: nobody else is given its port meanwhile.
  await new Promise<void>((resolve) => nobody.listen(0, "127.0.49.63", resolve));
  const free = nobody.address();
  await new Promise((resolve) => nobody.close(resolve));
  const alone = createCoordination({
    gateway: `http://127.0.49.63:${typeof free === "object" ? free?.port : 0}`,
    token: "t",
    timeoutMs: patientMs,
  });
  await assert.rejects(alone.put("k", "v"), { code: "not-answering" });
  await assert.rejects(alone.get("k"), { code: "not-answering" });
});
