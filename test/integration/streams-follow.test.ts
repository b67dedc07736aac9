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
  await store.setStreams(["scales", "many"].map((name) => ({ name, retention: {} })));
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
function taking(entries: (signal: AbortSignal) => AsyncIterable<Entry>) {
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

test("the example of docs/streams.md tails as it says", async () => {
  await append("scales", range(1, 20));
  const text = readFileSync(join(import.meta.dirname, "../../docs/streams.md"), "utf8");
  const [, code = ""] = /^## Following\n.*?^```js\n(.*?)^```/ms.exec(text) ?? [];
  const example = code.replaceAll(/^import .*$/gm, "").replaceAll("process.env.", "environment.");
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<void>;
  const run = new AsyncFunction(
    ...["createClient", "readFileSync", "environment", "console"],
    example,
  );
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
  const running = run(endingClient, () => "secret", environment, { log });
  await waitFor(() => grams.length >= 10, { what: "the newest" });
  await append("scales", [21]);
  await waitFor(() => grams.length >= 11, { what: "the next" });
  control.abort();
  await running;
  assert.deepEqual(grams, range(11, 21));
});
