/** Streams as a program follows them by the client, over real HTTP. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createClient, type Entry } from "../../src/client/index.ts";
import {
  createStreamRoutes,
  openStreamStore,
  type LocalStreamStore,
} from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp, type HttpApp } from "../../src/runtime/http/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
let store: LocalStreamStore;
let app: HttpApp;
let url: string;

before(async () => {
  store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: join(folder.path, "s.db"), node: "n1" },
  );
  await store.setStreams(
    ["scales", "many", "cut", "quiet", "imported"].map((name) => ({ name, retention: {} })),
  );
  app = createHttpApp();
  createStreamRoutes(store, { clock: systemClock })(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
});
after(async () => {
  await app.close();
  await store.close();
  folder[Symbol.dispose]();
});

const append = (stream: string, numbers: readonly number[]) =>
  store.append(numbers.map((grams) => ({ stream, body: Buffer.from(JSON.stringify({ grams })) })));

/** What comes, until it is stopped. */
function taking(entries: (signal: AbortSignal) => AsyncIterable<Pick<Entry, "body">>) {
  const control = new AbortController();
  const taken: unknown[] = [];
  let isOver = false;
  const taker = (async () => {
    for await (const { body } of entries(control.signal)) taken.push(body["grams"]);
  })().finally(() => (isOver = true));
  taker.catch(() => undefined);
  return {
    taken,
    get isOver() {
      return isOver;
    },
    stop() {
      control.abort();
      return taker;
    },
  };
}

test("a tail begins with the newest, goes on with what comes, and ends with its signal; a query gives all that is there", async () => {
  await append("many", range(1, 150));
  const client = createClient({ url });
  const some = taking((signal) => client.tail("many", { limit: 2, signal }));
  const usual = taking((signal) => client.tail("many", { limit: undefined, signal }));
  await waitFor(() => some.taken.length >= 2 && usual.taken.length >= 100, { what: "the newest" });
  await append("many", [151]);
  await waitFor(() => some.taken.length >= 3 && usual.taken.length >= 101, { what: "the next" });
  assert.deepEqual(some.taken, [149, 150, 151]);
  assert.deepEqual(usual.taken, range(51, 151));
  assert.deepEqual([some.isOver, usual.isOver], [false, false]);
  await Promise.all([some.stop(), usual.stop()]);

  const all = taking(() => client.query("many"));
  const first = taking(() => client.query("many", { limit: 2 }));
  await waitFor(() => all.isOver && first.isOver, { what: "the queries" });
  assert.deepEqual([all.taken, first.taken], [range(1, 151), [1, 2]]);
});

test("the newest of a tail with a time are those of them that are of it; where none is, only what comes is told", async () => {
  const at = (year: number, grams: readonly number[]) =>
    store.append(
      grams.map((each) => ({
        stream: "imported",
        atMs: Date.UTC(year, 6),
        body: Buffer.from(JSON.stringify({ grams: each })),
      })),
    );
  await at(1999, [1]);
  await at(2026, [2, 3, 4, 5, 6]);
  // An old file was imported after them.
  await at(2019, [7, 8, 9]);
  const asked: string[] = [];
  const noting: typeof fetch = (input, init) => {
    asked.push(String(input));
    return fetch(input, init);
  };
  const client = createClient({ url, fetch: noting });
  const tail = (of: { from?: number; to?: number; limit: number }) =>
    taking((signal) => client.tail("imported", { ...of, signal }));
  const tails = {
    since: tail({ from: Date.UTC(2026), limit: 2 }),
    until: tail({ to: Date.UTC(2000), limit: 2 }),
    some: tail({ from: Date.UTC(2026), limit: 4 }),
  };
  const isFollowing = () => asked.filter((each) => each.includes("follow=1")).length === 3;
  await waitFor(isFollowing, { what: "all of them to follow" });
  await at(2026, [10]);
  await at(1999, [11]);
  await at(2026, [12]);
  const isTold = () =>
    [tails.since, tails.some].every(({ taken }) => taken.includes(12)) &&
    tails.until.taken.includes(11);
  await waitFor(isTold, { what: "what came" });
  await Promise.all(Object.values(tails).map((each) => each.stop()));
  const told = Object.entries(tails).map(([name, { taken }]) => [name, taken]);
  assert.deepEqual(Object.fromEntries(told), {
    since: [10, 12],
    until: [11],
    some: [6, 10, 12],
  });
});

const numbers = { columns: { grams: "number" } } as const;
const cut = () => app.server.closeAllConnections();

test("a tail that is cut goes on where it was: nothing is passed over or told twice, nor what came where nothing was", async () => {
  const seen: string[] = [];
  const lossy: typeof fetch = async (input, init) => {
    seen.push(new URL(String(input)).search);
    // Nobody answers for a moment, before anything came and between two connections.
    if (seen.length === 1 || seen.length === 4) throw new TypeError("fetch failed");
    return await fetch(input, init);
  };
  const client = createClient({ url, fetch: lossy });
  const tail = taking((signal) => client.tail("cut", { limit: 2, signal }));
  const isFollowing = () => seen.at(-1)?.includes("follow=1");
  await waitFor(isFollowing, { what: "the tail to follow" });
  cut();
  // More than it would begin with.
  await append("cut", range(1, 5));
  await waitFor(() => tail.taken.length >= 5, { what: "what came while nobody listened" });
  cut();
  await append("cut", range(6, 9));
  await waitFor(() => tail.taken.length >= 9, { what: "what came then" });
  await append("cut", [10]);
  await waitFor(() => tail.taken.length >= 10, { what: "the next" });
  await tail.stop();
  assert.deepEqual(tail.taken, range(1, 10));
});

test("batches that follow go on where they were, over lost connections and pages that break off", async () => {
  let isBroken = false;
  const lossy: typeof fetch = async (input, init) => {
    if (!isBroken || !String(input).includes("format=json")) return await fetch(input, init);
    isBroken = false;
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('{"entries":['));
        controller.error(new TypeError("terminated"));
      },
    });
    return new Response(broken, { status: 200 });
  };
  const client = createClient({ url, fetch: lossy });
  const batches = taking(async function* (signal) {
    for await (const { columns } of client.batches("quiet", { ...numbers, follow: true, signal }))
      for (const grams of columns.grams) yield { body: { grams } };
  });
  await append("quiet", [1]);
  await waitFor(() => batches.taken.length >= 1, { what: "what was there" });
  isBroken = true;
  cut();
  await append("quiet", [2, 3]);
  await waitFor(() => batches.taken.length >= 3, { what: "what came" });
  await batches.stop();
  assert.deepEqual(batches.taken, [1, 2, 3]);
  assert.equal(isBroken, false);

  // Who does not follow is told, and has the cursor.
  isBroken = true;
  const once = taking(async function* () {
    for await (const { length } of client.batches("quiet", numbers)) yield { body: { length } };
  });
  await assert.rejects(once.stop(), { code: "not-answering", retryable: true });
});

test("what is refused for good ends who follows with the reason", async () => {
  const client = createClient({ url });
  await assert.rejects(taking(() => client.tail("scale")).stop(), { code: "stream-unknown" });
  await assert.rejects(taking(() => client.tail("scales", { limit: 0 })).stop(), {
    code: "invalid-query",
  });
});

test("a connection that says nothing for 45 s is given up, one with empty lines and one whose reader is busy are not", async () => {
  const clock = createSimulatedClock();
  const opened: ReadableStreamDefaultController<Uint8Array>[] = [];
  const fetched: typeof fetch = async (input, init) => {
    if (!String(input).includes("follow=1"))
      return new Response('{"entries":[],"cursor":"a.0","more":false}');
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        opened.push(controller);
        init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
      },
    });
    return new Response(body);
  };
  const client = createClient({ url: "http://n1", fetch: fetched, clock });
  const busy = Promise.withResolvers<void>();
  const tail = taking(async function* (signal) {
    for await (const entry of client.tail("s", { signal })) {
      yield entry;
      if (entry.body["grams"] === 1) await busy.promise;
    }
  });
  const send = async (text: string) => {
    opened.at(-1)?.enqueue(Buffer.from(text));
    await clock.advance(0);
  };
  const line = (grams: number) => `{"cursor":"a.${grams}","body":{"grams":${grams}}}\n`;
  await waitFor(() => opened.length === 1, { what: "the connection" });
  for (let beat = 0; beat < 10; beat++) {
    await clock.advance(15_000);
    await send("\n");
  }
  await send(line(1));
  await waitFor(() => tail.taken.length === 1, { what: "the entry" });
  await clock.advance(3_600_000);
  await send(line(2));
  busy.resolve();
  await waitFor(() => tail.taken.length === 2, { what: "the next entry" });
  assert.equal(opened.length, 1);
  await clock.advance(44_999);
  assert.equal(opened.length, 1);
  await clock.advance(1);
  // The pause before it is asked again.
  await clock.advance(1000);
  await waitFor(() => opened.length === 2, { what: "the next connection" });
  await tail.stop();
  assert.equal(clock.pending, 0);
});

test("the example of docs/streams.md tails as it says", async () => {
  await append("scales", range(1, 20));
  const text = readFileSync(join(import.meta.dirname, "../../docs/streams.md"), "utf8");
  const [, code = ""] = /^## Following\n.*?^```js\n(.*?)^```/ms.exec(text) ?? [];
  const example = code.replaceAll(/^import .*$/gm, "").replaceAll("process.env.", "environment.");
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<void>;
  const run = new AsyncFunction(...["createClient", "readFile", "environment", "console"], example);
  // The example's loop goes on for ever, as it should; this test ends it.
  const control = new AbortController();
  const endingClient: typeof createClient = (options) => {
    const client = createClient(options);
    const { signal } = control;
    return { ...client, tail: (stream, given) => client.tail(stream, { ...given, signal }) };
  };
  const grams: unknown[] = [];
  const environment = { SKERRY_GATEWAY: url, SKERRY_TOKEN_FILE: "token" };
  const log = (_at: string, each: unknown) => grams.push(each);
  const running = run(endingClient, async () => "secret", environment, { log });
  await waitFor(() => grams.length >= 10, { what: "the newest" });
  await append("scales", [21]);
  await waitFor(() => grams.length >= 11, { what: "the next" });
  control.abort();
  await running;
  assert.deepEqual(grams, range(11, 21));
});
