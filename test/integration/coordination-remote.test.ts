/** Coordination from a node that is no server, over real links: what a cut does, and who may speak for whom. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  applicationMethods,
  type Coordination,
  type StreamItem,
} from "../../src/ledger/applications/index.ts";
import { authenticate, startService } from "../support/coordination.ts";
import { remoteOf, startServer } from "../support/coordination-remote.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { text, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const a = { id: "spiffe://mill.skerry/app/a", token: "good-a" };

async function startLedger(t: TestContext) {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  return ledger;
}

/** Answers when told to; says when a request has come. */
function held(service: Coordination) {
  const go = Promise.withResolvers<void>();
  let arrived = 0;
  const coordination: Coordination = {
    async call(...asked) {
      arrived++;
      await go.promise;
      return service.call(...asked);
    },
    stream: service.stream,
  };
  return { coordination, go: () => go.resolve(), arrived: () => arrived };
}

test("C3: a write whose link is cut is unknown, and sent to no other server", async (t) => {
  const service = startService(t, await startLedger(t));
  const first = held(service);
  const second = held(service);
  second.go();
  const servers = [
    await startServer(t, first.coordination),
    await startServer(t, second.coordination),
  ];
  const remote = remoteOf(servers);
  const writing = remote.call(a, { type: "put", key: "k", value: "" });
  await waitFor(() => first.arrived() === 1, { what: "the write to arrive", timeoutMs: 60_000 });
  servers[0]?.link()?.close("the cable is pulled");
  assert.equal((await writing).state, "unknown");
  assert.equal(second.arrived(), 0);

  const reading = remoteOf(servers.toReversed()).call(a, { type: "get", key: "k" });
  assert.equal((await reading).state, "item");
  first.go();
});

test("a read goes to the next server when the first one stays silent", async (t) => {
  const service = startService(t, await startLedger(t));
  const silent = held(service);
  const servers = [await startServer(t, silent.coordination), await startServer(t, service)];
  const remote = remoteOf(servers, { hurriedMs: 200 });
  assert.equal((await remote.call(a, { type: "get", key: "k" })).state, "item");
  assert.equal(silent.arrived(), 1);
  // From now on the one that answered is asked first.
  assert.equal((await remote.call(a, { type: "put", key: "k", value: "" })).state, "done");
  assert.equal(silent.arrived(), 1);
  silent.go();
});

test("C2: a server takes nobody's word for whom a request is", async (t) => {
  const service = startService(t, await startLedger(t));
  const { link } = await startServer(t, service);
  const ask = async (body: unknown, method = applicationMethods.call) =>
    await link()?.request(method, utf8(typeof body === "string" ? body : JSON.stringify(body)));
  const request = { type: "get", key: "k" };
  assert.match(text((await ask({ token: "good-a", request })) ?? utf8("")), /"item":null/);
  const refused: [unknown, string][] = [
    [{ token: "forged", request }, "unauthenticated"],
    [{ request }, "unauthenticated"],
    [{ token: { id: a.id }, request }, "unauthenticated"],
    // What it says of itself beside the token is not read.
    [{ token: "forged", id: a.id, caller: a, request }, "unauthenticated"],
    [{ token: "good-a", request: { ...request, key: "../app:b/keys/k" } }, "invalid-request"],
    [{ token: "good-a", request: { ...request, application: "app:b" } }, "invalid-request"],
    [
      { token: "good-a", request: { type: "put", key: "k", value: "not base64!" } },
      "invalid-request",
    ],
    [
      { token: "good-a", request: { type: "put", key: "k", value: "A".repeat(200_000) } },
      "invalid-request",
    ],
    [{ token: "good-a" }, "invalid-request"],
    ["[", "invalid-request"],
    ["7", "invalid-request"],
  ];
  for (const [body, code] of refused)
    await assert.rejects(ask(body), { code }, JSON.stringify(body).slice(0, 80));
  const opened = link()?.open(
    applicationMethods.stream,
    utf8(JSON.stringify({ token: "forged", request })),
  );
  await assert.rejects(
    async () => {
      for await (const item of opened ?? []) assert.fail(text(item));
    },
    { code: "unauthenticated" },
  );
  assert.equal(await authenticate("forged"), undefined);
});

test("C7: a stream that is cut ends with an error, and goes on elsewhere from where it was", async (t) => {
  const service = startService(t, await startLedger(t));
  const servers = [await startServer(t, service), await startServer(t, service)];
  const remote = remoteOf(servers);
  const put = (value: string) =>
    service.call(a, { type: "put", key: "k", value: Buffer.from(value).toString("base64") });
  const changes: number[] = [];
  let last: StreamItem | undefined;
  const follow = async () => {
    const from = last ? { after: last.revision, epoch: last.epoch } : {};
    for await (const item of remote.stream(a, { type: "watch", prefix: "", ...from })) {
      if (item.event === "change") changes.push(item.revision);
      last = item;
    }
  };
  const first = follow();
  await waitFor(() => last !== undefined, { what: "the first bookmark", timeoutMs: 60_000 });
  await put("1");
  await waitFor(() => changes.length === 1, { what: "a change", timeoutMs: 60_000 });
  servers[0]?.link()?.close("the cable is pulled");
  await assert.rejects(first, { code: "link-lost" });
  await put("2");
  await put("3");
  const second = follow();
  await waitFor(() => changes.length === 3, { what: "what came meanwhile", timeoutMs: 60_000 });
  assert.deepEqual(
    changes,
    changes.toSorted((one, two) => one - two),
  );
  servers[1]?.link()?.close("this one too");
  await assert.rejects(second, { code: "link-lost" });
});

test("C9: waits and watches of one application leave room on the link for others", async (t) => {
  const service = startService(t, await startLedger(t));
  const remote = remoteOf([await startServer(t, service)]);
  const { session = "" } = (await service.call(a, { type: "session-create" })) as {
    session?: string;
  };
  await service.call(a, { type: "claim", kind: "lock", name: "l", session });
  const gone = new AbortController();
  const waits = Array.from({ length: 60 }, () =>
    remote
      .call(
        a,
        { type: "claim", kind: "lock", name: "l", session, waitMs: 60_000 },
        { signal: gone.signal },
      )
      .then(
        ({ state }) => state,
        (error: { code: string }) => error.code,
      ),
  );
  const refused = await Promise.race(waits);
  assert.equal(refused, "coordination-busy");
  const b = { id: "spiffe://mill.skerry/app/b", token: "good-b" };
  const own = await remote.call(b, { type: "session-create" });
  assert.ok(own.state === "done" && own.session !== undefined);
  const wait = { kind: "lock", name: "l", session: own.session, waitMs: 1000 } as const;
  assert.equal((await remote.call(b, { type: "claim", ...wait })).state, "done");
  assert.equal((await remote.call(a, { type: "get", key: "k" })).state, "item");
  gone.abort();
  const outcomes = await Promise.all(waits);
  assert.deepEqual([...new Set(outcomes)].toSorted(), ["coordination-busy", "unknown"]);
});
