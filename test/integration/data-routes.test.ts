/** Query and tail over real HTTP. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import {
  createGlobalRoutes,
  createStreamRoutes,
  encodeBatch,
  openGlobalStore,
  openStreamStore,
  type GlobalStore,
  type LocalStreamStore,
} from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp, type HttpApp } from "../../src/runtime/http/index.ts";
import { diary, entry, range, telemetry, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const deps = { clock: systemClock, random: systemRandom, log: silentLog };
let store: LocalStreamStore;
let hub: GlobalStore;
let app: HttpApp;
let hubApp: HttpApp;
let url: string;
let hubUrl: string;

before(async () => {
  store = openStreamStore(deps, { path: join(folder.path, "s.db"), node: "n1" });
  await store.setStreams([telemetry, diary]);
  hub = openGlobalStore({ ...deps, recheck: createRecheck() }, { path: join(folder.path, "h.db") });
  app = createHttpApp();
  createStreamRoutes(store, deps)(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
  hubApp = createHttpApp();
  createGlobalRoutes(hub, deps)(hubApp);
  hubUrl = await hubApp.listen({ host: "127.0.0.1", port: 0 });
  await store.append(range(1, 2500).map((n) => entry(n, { atMs: n * 1000 })));
  await store.append([
    { stream: "diary", atMs: 0, body: Buffer.from('{\n  "text": "two\\nlines"\r\n}') },
  ]);
});
after(async () => {
  await app.close();
  await hubApp.close();
  await store.close();
  await hub.close();
  folder[Symbol.dispose]();
});

const linesOf = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const get = async (path: string) => (await fetch(`${url}${path}`)).text();

test("all entries as lines, each with where it stands and a cursor to go on from", async () => {
  const response = await fetch(`${url}/v1/streams/telemetry/entries`);
  assert.equal(response.headers.get("content-type"), "application/x-ndjson");
  const lines = linesOf(await response.text());
  assert.equal(lines.length, 2500);
  const { origin } = await store.status();
  const { cursor, ...first } = lines[0] ?? {};
  assert.deepEqual(first, {
    stream: "telemetry",
    at: "1970-01-01T00:00:01.000Z",
    producer: "p1",
    epoch: 1,
    sequence: 1,
    origin,
    position: 1,
    body: { n: 1 },
  });
  const rest = linesOf(await get(`/v1/streams/telemetry/entries?after=${String(cursor)}&limit=3`));
  assert.deepEqual(
    rest.map(({ sequence }) => sequence),
    [2, 3, 4],
  );
});

test("a body with line breaks stays one line, an entry without a key has none", async () => {
  const lines = linesOf(await get("/v1/streams/diary/entries"));
  assert.deepEqual(
    lines.map(({ body }) => body),
    [{ text: "two\nlines" }],
  );
  assert.equal("producer" in (lines[0] ?? {}), false);
});

test("time ranges and JSON pages", async () => {
  const path = "/v1/streams/telemetry/entries?format=json&from=1970-01-01T00:00:10Z&to=13000";
  const page = JSON.parse(await get(path)) as {
    entries: { sequence: number }[];
    more: boolean;
    cursor: string;
  };
  assert.deepEqual(
    page.entries.map(({ sequence }) => sequence),
    [10, 11, 12],
  );
  assert.equal(page.more, false);
  assert.match(page.cursor, /^[a-z0-9]+\.\d+$/);
});

test("a follower gets what comes, and only that stream", async () => {
  const stop = new AbortController();
  const response = await fetch(`${url}/v1/streams/diary/entries?follow=1`, { signal: stop.signal });
  let text = "";
  const reading = (async () => {
    for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString();
  })();
  await waitFor(() => linesOf(text).length === 1, { what: "the entry that was there" });
  await store.append([entry(9999)]);
  await store.append([entry(7, { stream: "diary" })]);
  await waitFor(() => linesOf(text).length === 2, { what: "the entry that came" });
  assert.equal(linesOf(text)[1]?.["sequence"], 7);
  stop.abort();
  await assert.rejects(reading, { name: "AbortError" });
});

/** What comes of a quiet store; `grow` tells of entries that are not this reader's. */
async function quiet() {
  const clock = createSimulatedClock();
  const listeners = new Set<() => void>();
  const reads: (() => void)[] = [];
  let isHeld = false;
  const looks = { begun: 0, ms: 0 };
  const page = { entries: [], cursor: "a.0" };
  const app = createHttpApp();
  createStreamRoutes(
    {
      async read() {
        if (isHeld) await new Promise<void>((resolve) => reads.push(resolve));
        looks.begun++;
        if (looks.ms > 0) await clock.sleep(looks.ms);
        return { ...page, more: looks.ms > 0 };
      },
      status: () => store.status(),
      on(_event, listener) {
        const grown = () => void listener({ streams: ["s"], entries: 1 } as never);
        listeners.add(grown);
        return () => listeners.delete(grown);
      },
    },
    { clock },
  )(app);
  const path = `${await app.listen({ host: "127.0.0.1", port: 0 })}/v1/streams/s/entries?follow=1`;
  return {
    clock,
    path,
    listeners,
    reads,
    /** Pages of which each takes `ms`, finds nothing and is not the last, if there is such a time. */
    looks,
    connections: () => promisify(app.server.getConnections.bind(app.server))(),
    hold: (held: boolean) => (isHeld = held),
    [Symbol.asyncDispose]: async () => void (await app.close()),
  };
}

/** What it heard so far; `stop` ends it, which nothing else did before. */
function followerOf(path: string) {
  const stop = new AbortController();
  let text = "";
  const reading = (async () => {
    const response = await fetch(path, { signal: stop.signal });
    for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString();
  })();
  const ended = assert.rejects(reading, { name: "AbortError" });
  return {
    get text() {
      return text;
    },
    async stop() {
      stop.abort();
      await ended;
    },
  };
}

test("a follower of a quiet stream is answered at once, and hears every 15 s that the connection is whole", async () => {
  await using node = await quiet();
  const follower = followerOf(node.path);
  await waitFor(() => follower.text === "\n" && node.listeners.size === 1, {
    what: "the first line",
  });
  for (const beats of [2, 3]) {
    await waitFor(() => node.clock.pending === 1, { what: "the next beat to be due" });
    await node.clock.advance(14_999);
    // What came is somebody else's: neither a beat, nor put off by it.
    for (const grown of node.listeners) grown();
    await node.clock.advance(0);
    assert.equal(follower.text.length, beats - 1);
    await node.clock.advance(1);
    await waitFor(() => follower.text === "\n".repeat(beats), { what: "a beat" });
  }
  await follower.stop();
  await waitFor(() => node.listeners.size + node.clock.pending === 0, { what: "it to be let go" });
});

test("a follower hears every 15 s that the connection is whole while much is looked through and nothing found", async () => {
  await using node = await quiet();
  node.looks.ms = 1000;
  const follower = followerOf(node.path);
  let looked = 0;
  const look = async (count: number) => {
    for (const until = looked + count; looked < until;) {
      looked++;
      await waitFor(() => node.looks.begun >= looked, { what: "the next page" });
      await node.clock.advance(1000);
    }
  };
  await look(1);
  await waitFor(() => follower.text === "\n", { what: "the first line" });
  for (const beats of [2, 3, 4]) {
    await look(15);
    await waitFor(() => follower.text === "\n".repeat(beats), { what: "a beat", timeoutMs: 5000 });
  }
  await follower.stop();
  node.looks.ms = 0;
  await node.clock.advance(1000);
  await waitFor(() => node.listeners.size + node.clock.pending === 0, { what: "it to be let go" });
});

test("D9: a follower that went before its first page was read takes no place", async () => {
  await using node = await quiet();
  node.hold(true);
  const stop = new AbortController();
  const gone = range(1, 256).map(() => fetch(node.path, { signal: stop.signal }));
  const ended = Promise.allSettled(gone);
  await waitFor(() => node.reads.length === 256, { what: "the readers" });
  stop.abort();
  await ended;
  node.hold(false);
  await waitFor(async () => (await node.connections()) === 0, { what: "them to be gone" });
  for (const read of node.reads) read();
  await waitFor(
    async () => {
      const again = await fetch(node.path);
      await again.body?.cancel();
      return again.status === 200;
    },
    { what: "a place", timeoutMs: 5000 },
  );
});

test("bad input is answered with what is wrong, before anything is sent", async () => {
  const cases: [string, number, string, RegExp][] = [
    ["/v1/streams/telemetri/entries", 404, "stream-unknown", /telemetri/],
    ["/v1/streams/telemetry/entries?after=bogus.1", 400, "invalid-cursor", /bogus/],
    ["/v1/streams/telemetry/entries?limit=0", 400, "invalid-query", /limit: "0"/],
    ["/v1/streams/telemetry/entries?limit=20000&format=json", 400, "invalid-query", /limit/],
    ["/v1/streams/telemetry/entries?newest=0", 400, "invalid-query", /newest: "0"/],
    ["/v1/streams/telemetry/entries?newest=1&after=a.1", 400, "invalid-query", /newest: does not/],
    ["/v1/streams/telemetry/entries?from=yesterday", 400, "invalid-query", /from: "yesterday"/],
    ["/v1/streams/telemetry/entries?follow=yes", 400, "invalid-query", /follow: "yes"/],
    ["/v1/streams/telemetry/entries?follow=1&format=json", 400, "invalid-query", /format/],
    ["/v1/streams/telemetry/entries?form=json", 400, "invalid-query", /form: is not known/],
    [
      "/v1/streams/telemetry/entries?limit=1&limit=2",
      400,
      "invalid-query",
      /limit: is given twice/,
    ],
    ["/v1/streams/telemetry/entries?cell=a", 400, "invalid-query", /cell: is not known here/],
  ];
  for (const [path, status, code, message] of cases) {
    const response = await fetch(`${url}${path}`);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    assert.deepEqual([response.status, error.code], [status, code], path);
    assert.match(error.message, message);
  }
});

test("streams with their counts, sizes and backlog", async () => {
  const status = JSON.parse(await get("/v1/streams")) as Awaited<ReturnType<typeof store.status>>;
  const names = status.streams.map(({ name, backlog }) => [name, backlog.entries > 0]);
  assert.deepEqual(names, [
    ["diary", false],
    ["telemetry", true],
  ]);
});

test("the hub answers the same, by cell", async () => {
  for (const cell of ["a", "b"]) {
    const entries = range(1, 3).map((sequence) => ({
      ...entry(sequence),
      atMs: 1000,
      position: { origin: "n1.x", sequence },
    }));
    const policies = { telemetry: { keep: ["n"] } };
    await hub.ingest(cell, encodeBatch({ origin: "n1.x", from: 1, to: 3, entries, policies }));
  }
  const read = async (path: string) => linesOf(await (await fetch(`${hubUrl}${path}`)).text());
  const all = await read("/v1/streams/telemetry/entries");
  assert.deepEqual(
    all.map(({ cell, sequence }) => `${String(cell)}${String(sequence)}`),
    ["a1", "a2", "a3", "b1", "b2", "b3"],
  );
  assert.equal((await read("/v1/streams/telemetry/entries?cell=b")).length, 3);
  const [{ streams }] = (await read("/v1/streams?cell=a")) as [{ streams: unknown }];
  assert.deepEqual(streams, [{ cell: "a", name: "telemetry", entries: 3, bytes: 261 }]);

  // The feed of all streams, gone on with behind any line.
  const changes = await read("/v1/changes");
  assert.deepEqual(changes, all);
  assert.deepEqual(await read(`/v1/changes?after=${String(changes[3]?.["cursor"])}`), all.slice(4));
  assert.deepEqual(await read("/v1/changes?cell=b"), all.slice(3));
  const following = fetch(`${hubUrl}/v1/changes?follow=1&after=${String(changes[5]?.["cursor"])}`);
  const alarm = {
    ...entry(1),
    stream: "alarms",
    atMs: 1000,
    position: { origin: "n1.x", sequence: 1 },
  };
  await hub.ingest(
    "c",
    encodeBatch({
      origin: "n1.x",
      from: 1,
      to: 1,
      entries: [alarm],
      policies: { alarms: { keep: ["n"] } },
    }),
  );
  const reader = (await following).body?.getReader();
  assert.ok(reader);
  const told: Record<string, unknown>[] = [];
  await waitFor(
    async () => {
      const { value } = await reader.read();
      told.push(...linesOf(new TextDecoder().decode(value)));
      return told.length > 0;
    },
    { what: "what came" },
  );
  assert.deepEqual(
    told.map(({ cell, stream }) => [cell, stream]),
    [["c", "alarms"]],
  );
  await reader.cancel();
});
