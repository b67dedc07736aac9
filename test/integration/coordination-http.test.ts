/** Coordination as applications see it over HTTP, on one server; invariants C1 to C9 of its README. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  coordinationLimits,
  type CoordinationLimits,
} from "../../src/ledger/applications/index.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import {
  sentEvents,
  startGateway,
  startService,
  type Called,
  type TestGateway,
} from "../support/coordination.ts";
import { waitFor } from "../support/wait.ts";

async function start(t: TestContext, limits: Partial<CoordinationLimits> = {}) {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  const service = startService(t, ledger, { limits });
  const gateway = await startGateway(t, service);
  return { ledger, gateway, ...verbs(gateway) };
}

function verbs({ call }: TestGateway) {
  const json = (body: unknown) => ({ method: "POST", body: JSON.stringify(body) });
  return {
    call,
    put: (key: string, body: string, headers: Record<string, string> = {}, query = "") =>
      call(`/keys/${key}${query}`, { method: "PUT", body, headers }),
    post: (path: string, body: unknown = {}, token = "good-a") =>
      call(path, { ...json(body), token }),
    del: (path: string) => call(path, { method: "DELETE" }),
    session: async (ttlMs = 60_000, token = "good-a"): Promise<string> =>
      (await call("/sessions", { ...json({ ttlMs }), token })).json.session,
  };
}

const codeOf = ({ status, json }: Called) => [status, json.error.code];
const base64 = (text: string) => Buffer.from(text).toString("base64");

test("C3: a key is put, read, compared, deleted; done and refused are told apart", async (t) => {
  const { call, put, del } = await start(t);
  const absent = await call("/keys/jobs/1");
  assert.deepEqual(codeOf(absent), [404, "key-unknown"]);

  const made = await put("jobs/1", "one", { "if-none-match": "*" });
  assert.equal(made.status, 200);
  assert.equal(made.json.state, "done");
  const { revision } = made.json;

  const read = await call("/keys/jobs/1");
  assert.equal(read.text, "one");
  assert.equal(read.headers.get("etag"), `"${revision}"`);
  assert.equal(read.headers.get("skerry-created"), String(revision));
  assert.equal(read.headers.get("skerry-version"), "1");
  assert.equal(read.headers.get("skerry-session"), null);
  assert.ok(Number(read.headers.get("skerry-revision")) >= revision);
  assert.equal((await call("/keys/jobs/1?stale=1")).text, "one");

  const again = await put("jobs/1", "two", { "if-none-match": "*" });
  assert.deepEqual(codeOf(again), [412, "condition-failed"]);
  assert.equal(again.json.state, "refused");
  assert.deepEqual(again.json.current, {
    key: "jobs/1",
    value: base64("one"),
    createRevision: revision,
    modRevision: revision,
    version: 1,
  });

  const swapped = await put("jobs/1", "two", { "if-match": `"${revision}"` });
  assert.ok(swapped.json.revision > revision);
  assert.deepEqual(codeOf(await put("jobs/1", "three", { "if-match": `"${revision}"` })), [
    412,
    "condition-failed",
  ]);
  const stranger = await put("jobs/9", "x", { "if-match": '"7"' });
  assert.deepEqual([stranger.status, stranger.json.current], [412, null]);

  const headers = { "if-match": `"${revision}"` };
  assert.equal((await call("/keys/jobs/1", { method: "DELETE", headers })).status, 412);
  assert.equal((await del("/keys/jobs/1")).json.state, "done");
  assert.equal((await del("/keys/jobs/1")).json.state, "done");
  assert.equal((await put("empty", "")).status, 200);
  assert.equal((await call("/keys/empty")).text, "");
});

test("a list is of one revision, page by page", async (t) => {
  const { call, put } = await start(t);
  for (const key of ["a", "b/1", "b/2", "b/3", "c"]) await put(key, key);
  const first = (await call("/keys?prefix=b/&limit=2")).json;
  assert.deepEqual(
    first.items.map(({ key, value }: { key: string; value: string }) => [key, value]),
    [
      ["b/1", base64("b/1")],
      ["b/2", base64("b/2")],
    ],
  );
  assert.equal(first.more, true);
  await put("b/3", "changed");
  const next = `/keys?prefix=b/&limit=2&after=b/2&revision=${first.revision}`;
  const second = (await call(next)).json;
  assert.deepEqual(
    second.items.map(({ value }: { value: string }) => value),
    [base64("b/3")],
  );
  assert.equal(second.more, false);
  assert.equal((await call("/keys")).json.items.length, 5);
});

test("C1: one application sees nothing of another, not even what it knows by name", async (t) => {
  const { call, put, post, session } = await start(t);
  const foreign = { token: "good-b" };
  await put("secret", "of a");
  const lease = await session();
  await post("/locks/door", { session: lease });
  assert.equal((await call("/keys/secret", foreign)).status, 404);
  assert.deepEqual((await call("/keys", foreign)).json.items, []);
  assert.equal((await call("/locks/door", foreign)).json.holder, null);
  // b takes its own lock of that name.
  const own = await session(60_000, "good-b");
  assert.equal((await post("/locks/door", { session: own }, "good-b")).status, 200);
  // a's session is unknown to b, for every use of it.
  for (const answer of [
    await post(`/sessions/${lease}/renew`, {}, "good-b"),
    await call(`/sessions/${lease}`, { ...foreign, method: "DELETE" }),
    await post("/locks/other", { session: lease }, "good-b"),
    await call(`/keys/mine?session=${lease}`, { ...foreign, method: "PUT", body: "x" }),
  ])
    assert.deepEqual(codeOf(answer), [404, "session-unknown"]);
  assert.equal((await post(`/sessions/${lease}/renew`)).status, 200);
  for (const path of ["/keys/../../apps", "/keys/%2e%2e/x", "/keys/..%2f..%2fapp:b%2fkeys%2fx"]) {
    const { status } = await call(path);
    assert.ok(status === 400 || status === 404, path);
  }
  assert.equal((await call("/keys/x", { token: "bad" })).status, 401);
});

test("hostile input is refused with the field's name and changes nothing", async (t) => {
  const { call, put, post, session } = await start(t);
  const lease = await session();
  const before = (await call("/keys")).json.revision;
  const refused: [Promise<Called>, number, string][] = [
    [put("a//b", "x"), 400, "invalid-request"],
    [put("a/", "x"), 400, "invalid-request"],
    [put("a%00b", "x"), 400, "invalid-request"],
    [put("sp%20ace", "x"), 400, "invalid-request"],
    [put("ümlaut", "x"), 400, "invalid-request"],
    [put("k".repeat(513), "x"), 400, "invalid-request"],
    [put("big", "x".repeat(64 * 1024 + 1)), 413, "body-too-large"],
    [put("k", "x", { "if-match": "*" }), 400, "invalid-request"],
    [put("k", "x", { "if-match": '"1"', "if-none-match": "*" }), 400, "invalid-request"],
    [put("k", "x", { "if-none-match": '"1"' }), 400, "invalid-request"],
    [put("k", "x", {}, "?lock=a"), 400, "invalid-query"],
    [put("k", "x", {}, "?token=1"), 400, "invalid-query"],
    [put("k", "x", {}, "?lock=a&election=b&token=1"), 400, "invalid-query"],
    [put("k", "x", {}, "?lock=a&token=-1"), 400, "invalid-query"],
    [put("k", "x", {}, "?lock=a/b&token=1"), 400, "invalid-request"],
    [put("k", "x", {}, "?session=no%20such"), 400, "invalid-request"],
    [put("k", "x", {}, "?ttl=1"), 400, "invalid-query"],
    [call("/keys?limit=0"), 400, "invalid-request"],
    [call("/keys?limit=1&limit=2"), 400, "invalid-query"],
    [call("/keys?revision=999999999"), 410, "future-revision"],
    [call("/keys/k?stale=yes"), 400, "invalid-query"],
    [post("/sessions", { ttlMs: 1 }), 400, "invalid-request"],
    [post("/sessions", { ttlMs: 1e12 }), 400, "invalid-request"],
    [post("/sessions", { ttl: 5000 }), 400, "invalid-request"],
    [post("/sessions", [1]), 400, "invalid-request"],
    [call("/sessions", { method: "POST", body: "{" }), 400, "invalid-request"],
    [post("/locks/a", {}), 400, "invalid-request"],
    [post("/locks/a", { session: lease, waitMs: 1e9 }), 400, "invalid-request"],
    [post("/locks/a", { session: lease, value: "x".repeat(5000) }), 400, "invalid-request"],
    [post("/locks/a", { session: lease, type: "put", id: "" }), 400, "invalid-request"],
    [post("/locks/a%2fb", { session: lease }), 400, "invalid-request"],
    [post("/locks/a", { session: "apps/x" }), 400, "invalid-request"],
    [call("/locks/a", { method: "DELETE" }), 400, "invalid-request"],
    [call("/watch?after=x"), 400, "invalid-query"],
    [call("/watch", { headers: { "last-event-id": "here" } }), 400, "invalid-request"],
    [call("/keys/k", { method: "PATCH" }), 404, "route-unknown"],
  ];
  for (const [index, [answer, status, code]] of refused.entries())
    assert.deepEqual(codeOf(await answer), [status, code], `request ${index}`);
  assert.equal((await call("/keys")).json.revision, before);
});

test("C5: sessions end, and with them what hangs on them, at one revision", async (t) => {
  const { call, put, post, del, session, gateway } = await start(t);
  const lease = await session();
  await put("members/1", "here", {}, `?session=${lease}`);
  await put("members/2", "here", {}, `?session=${lease}`);
  await put("stays", "x");
  await post("/locks/door", { session: lease });
  assert.equal((await call("/keys/members/1")).headers.get("skerry-session"), lease);
  const renewed = (await post(`/sessions/${lease}/renew`)).json;
  assert.deepEqual([renewed.state, renewed.ttlMs], ["done", 60_000]);

  const watching = await fetch(`${gateway.url}/v1/coordination/watch?prefix=members/`, {
    headers: { authorization: "Bearer good-a" },
  });
  const events = sentEvents(watching);
  assert.equal((await events.next()).value?.event, "bookmark");
  assert.equal((await del(`/sessions/${lease}`)).json.state, "done");
  const change = (await events.next()).value;
  assert.deepEqual(change?.data.events, [
    { type: "delete", key: "members/1" },
    { type: "delete", key: "members/2" },
  ]);
  await events.return(undefined);
  assert.deepEqual(codeOf(await post(`/sessions/${lease}/renew`)), [404, "session-unknown"]);
  assert.deepEqual(codeOf(await del(`/sessions/${lease}`)), [404, "session-unknown"]);
  assert.deepEqual(codeOf(await put("members/3", "late", {}, `?session=${lease}`)), [
    404,
    "session-unknown",
  ]);
  assert.equal((await call("/locks/door")).json.holder, null);
  assert.deepEqual(
    (await call("/keys")).json.items.map(({ key }: { key: string }) => key),
    ["stays"],
  );
});

test("C4: tokens grow from holder to holder, and the ledger refuses a write of the one before", async (t) => {
  const { call, put, post, del, session } = await start(t);
  const [first, second] = [await session(), await session()];
  const held = (await post("/locks/door", { session: first, id: "try-1", value: "first" })).json;
  assert.equal(held.state, "done");
  // C5: the same try again has it already; another try of the same session does not.
  const repeated = (await post("/locks/door", { session: first, id: "try-1" })).json;
  assert.equal(repeated.token, held.token);
  assert.equal((await post("/locks/door", { session: first, id: "try-2" })).status, 412);
  const busy = await post("/locks/door", { session: second, waitMs: 50 });
  assert.deepEqual(codeOf(busy), [412, "lock-held"]);
  assert.deepEqual(busy.json.current, {
    token: held.token,
    session: first,
    id: "try-1",
    value: "first",
  });

  const fence = (token: number) => `?lock=door&token=${token}`;
  assert.equal((await put("state", "1", {}, fence(held.token))).status, 200);
  const waiting = post("/locks/door", { session: second, id: "x", waitMs: 30_000 });
  await del(`/locks/door?token=${held.token}`);
  const next = (await waiting).json;
  assert.ok(next.token > held.token);
  const late = await put("state", "2", {}, fence(held.token));
  assert.deepEqual(codeOf(late), [412, "fence-lost"]);
  assert.deepEqual(late.json.current, { token: next.token, session: second, id: "x" });
  assert.equal((await call(`/keys/state${fence(held.token)}`, { method: "DELETE" })).status, 412);
  assert.equal((await put("state", "3", {}, fence(next.token))).status, 200);
  assert.deepEqual(codeOf(await del(`/locks/door?token=${held.token}`)), [412, "not-held"]);
  // A guess ahead of time is no token.
  assert.deepEqual(codeOf(await put("state", "4", {}, fence(next.token + 1))), [412, "fence-lost"]);
  assert.equal((await call("/keys/state")).text, "3");
});

test("C6: who waits comes first in, first out; who leaves holds up nobody", async (t) => {
  const { post, del, session, gateway } = await start(t);
  const sessions = [await session(), await session(), await session(), await session()];
  const held = (await post("/locks/door", { session: sessions[0] })).json;
  const order: number[] = [];
  const wait = async (index: number, signal?: AbortSignal) => {
    const answer = await fetch(`${gateway.url}/v1/coordination/locks/door`, {
      method: "POST",
      headers: { authorization: "Bearer good-a" },
      body: JSON.stringify({ session: sessions[index], waitMs: 30_000 }),
      ...(signal ? { signal } : {}),
    });
    const { token } = (await answer.json()) as { token: number };
    order.push(index);
    return token;
  };
  // Each is in the queue before the next one is sent: three requests that wait at the gateway.
  const leaves = new AbortController();
  const gone = assert.rejects(wait(1, leaves.signal));
  await waiting(gateway, 1);
  const second = wait(2);
  await waiting(gateway, 2);
  const third = wait(3);
  await waiting(gateway, 3);
  leaves.abort();
  await gone;
  await waiting(gateway, 2);
  await del(`/locks/door?token=${held.token}`);
  await del(`/locks/door?token=${await second}`);
  await third;
  assert.deepEqual(order, [2, 3]);
});

/** Until that many tries wait for a lock, as the application is told. */
async function waiting(gateway: TestGateway, count: number) {
  await waitFor(async () => (await gateway.call("")).json.usage.waiters === count, {
    what: `${count} waiters`,
  });
}

test("elections: the leader is observed from one to the next", async (t) => {
  const { call, post, del, session, gateway } = await start(t);
  const observing = await fetch(`${gateway.url}/v1/coordination/elections/main/watch`, {
    headers: { authorization: "Bearer good-a" },
  });
  const events = sentEvents(observing);
  const nextLeader = async () => {
    for (;;) {
      const event = (await events.next()).value;
      if (event?.event === "leader") return event.data.leader;
    }
  };
  assert.equal(await nextLeader(), null);
  const [one, two] = [await session(), await session()];
  const first = (await post("/elections/main", { session: one, value: "10.0.0.1" })).json;
  assert.deepEqual(await nextLeader(), { token: first.token, session: one, value: "10.0.0.1" });
  const campaign = post("/elections/main", { session: two, waitMs: 30_000, value: "10.0.0.2" });
  assert.equal((await call("/elections/main")).json.leader.value, "10.0.0.1");
  await del(`/sessions/${one}`);
  assert.equal(await nextLeader(), null);
  assert.equal((await nextLeader()).value, "10.0.0.2");
  const { token } = (await campaign).json;
  assert.ok(token > first.token);
  const path = `/keys/x?election=main&token=${first.token}`;
  assert.deepEqual(codeOf(await call(path, { method: "PUT", body: "x" })), [412, "fence-lost"]);
  await del(`/elections/main?token=${token}`);
  assert.equal(await nextLeader(), null);
  await events.return(undefined);
});

test("C7: a watch tells every change once, goes on from where it was, and says when it cannot", async (t) => {
  const { call, put, ledger, gateway } = await start(t);
  const open = (path: string, lastEventId?: string) =>
    fetch(`${gateway.url}/v1/coordination/watch${path}`, {
      headers: {
        authorization: "Bearer good-a",
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
      },
    });
  const keysOf = async (answer: Response, count: number) => {
    const seen: string[] = [];
    let last: string | undefined;
    for await (const { event, id, data } of sentEvents(answer)) {
      if (event === "change")
        for (const { key, value } of data.events) seen.push(`${key}=${value}`);
      last = id;
      if (seen.length >= count) break;
    }
    return { seen, last: last ?? "" };
  };
  const start_ = (await call("/keys")).json.revision;
  await put("a/1", "1");
  await put("b/1", "not watched");
  await put("a/2", "2");
  const first = await keysOf(await open(`?prefix=a/&after=${start_}`), 2);
  assert.deepEqual(first.seen, [`a/1=${base64("1")}`, `a/2=${base64("2")}`]);
  await put("a/1", "3");
  const second = await keysOf(await open("?prefix=a/", first.last), 1);
  assert.deepEqual(second.seen, [`a/1=${base64("3")}`]);

  const { revision } = (await call("/keys")).json;
  await ledger.compact(revision);
  for (const id of [`${ledger.epoch}:1`, "another-epoch:5", `${ledger.epoch}:${revision + 99}`]) {
    const events = [];
    for await (const event of sentEvents(await open("", id))) events.push(event);
    assert.equal(events.at(-1)?.event, "compacted", id);
    assert.equal(events.at(-1)?.data.epoch, ledger.epoch);
  }
});

test("C8: quotas are refused with their name, limit and use, and free again when given up", async (t) => {
  const { call, put, post, del, session } = await start(t, {
    keys: 3,
    bytes: 100_000,
    sessions: 1,
    watches: 1,
    waiters: 1,
  });
  const quota = ({ status, json }: Called) => [status, json.error.code, json.error.details];
  const lease = await session();
  assert.deepEqual(quota(await post("/sessions")), [
    429,
    "quota-exceeded",
    { limit: "sessions", max: 1, used: 1 },
  ]);
  await put("a", "x".repeat(60_000));
  const tooLarge = quota(await put("b", "x".repeat(60_000)));
  assert.equal(tooLarge[2].limit, "bytes");
  await put("b", "small");
  const held = (await post("/locks/door", { session: lease, id: "try" })).json;
  assert.deepEqual(quota(await put("c", "x")), [
    429,
    "quota-exceeded",
    { limit: "keys", max: 3, used: 3 },
  ]);
  assert.deepEqual(quota(await post("/locks/more", { session: lease }))[1], "quota-exceeded");
  // C5: what is held already needs no room, and whoever asks is told so.
  const again = (await post("/locks/door", { session: lease, id: "try" })).json;
  assert.equal(again.token, held.token);
  assert.deepEqual(codeOf(await post("/locks/door", { session: lease })), [412, "lock-held"]);
  // What is there may change, and shrink; another application has its own.
  assert.equal((await put("a", "y".repeat(60_000))).status, 200);
  assert.equal((await call("/keys/c", { method: "PUT", body: "x", token: "good-b" })).status, 200);
  const { application, usage, limits } = (await call("")).json;
  assert.equal(application, "app:a");
  assert.deepEqual([usage.keys, usage.sessions, limits.keys], [3, 1, 3]);
  assert.equal(limits["value-bytes"], 65_536);
  await del("/keys/b");
  assert.equal((await put("c", "x")).status, 200);
  await del(`/sessions/${lease}`);
  assert.equal((await post("/sessions")).status, 200);
  assert.equal(coordinationLimits.keys, 4096);
});

test("C8: watches are limited at a time", async (t) => {
  const { call, gateway } = await start(t, { watches: 1 });
  const headers = { authorization: "Bearer good-a" };
  const open = await fetch(`${gateway.url}/v1/coordination/watch`, { headers });
  const events = sentEvents(open);
  await events.next();
  const refused = await call("/watch");
  assert.deepEqual([refused.status, refused.json.error.details.limit], [429, "watches"]);
  await events.return(undefined);
});

test("a gateway that stops ends streams and waits at once", async (t) => {
  const { post, session, gateway } = await start(t);
  const lease = await session();
  await post("/locks/door", { session: lease });
  const headers = { authorization: "Bearer good-a" };
  const events = sentEvents(await fetch(`${gateway.url}/v1/coordination/watch`, { headers }));
  await events.next();
  const wait = post("/locks/door", { session: lease, waitMs: 60_000 });
  await waiting(gateway, 1);
  await gateway.stop();
  assert.equal((await events.next()).done, true);
  assert.deepEqual(codeOf(await wait), [412, "lock-held"]);
});

test("the OpenAPI document describes every route", async (t) => {
  const { gateway } = await start(t);
  const answer = await fetch(`${gateway.url}/openapi.json`, {
    headers: { authorization: "Bearer good-a" },
  });
  const { paths } = (await answer.json()) as {
    paths: Record<string, Record<string, { summary?: string }>>;
  };
  const ours = Object.entries(paths).filter(([path]) => path.startsWith("/v1/coordination"));
  assert.equal(ours.length, 11);
  for (const [path, methods] of ours)
    for (const [method, { summary }] of Object.entries(methods))
      assert.ok(summary, `${method} ${path}`);
});
