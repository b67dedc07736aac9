/** Dead letters are what never comes again; retries of them are bounded, and never two at once. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { AppendOutcome } from "../../src/api/index.ts";
import { createDeadLetters } from "../../src/ingest/dead-letters.ts";
import {
  createBatcher,
  httpIngestRoutes,
  type Append,
  type StreamDeclaration,
} from "../../src/ingest/index.ts";
import { createTopicMapping } from "../../src/ingest/mapping.ts";
import { createPublishing, type Published } from "../../src/ingest/mqtt/publish.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore, refused } from "../support/ingest.ts";

/** HTTP and MQTT on one store and one set of letters. */
function start() {
  const clock = createSimulatedClock();
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock });
  const streams: StreamDeclaration[] = [
    { name: "scales", durability: { level: "local" }, mqttTopics: [] },
  ];
  const shared = { append: store.append, clock, metrics: createMetrics(), deadLetters };
  const app = createHttpApp();
  httpIngestRoutes({ ...shared, streams: () => streams })(app);
  const post = async (stream: string, body: string, query = "") => {
    const answer = await app.inject({
      ...{ method: "POST", url: `/v1/streams/${stream}/entries${query}`, payload: body },
      headers: { "content-type": "application/json" },
    });
    return answer.statusCode;
  };
  const publish = createPublishing({
    ...{ ...shared, batcher: createBatcher(shared) },
    match: (topic) => createTopicMapping(() => [...streams])(topic),
  });
  const send = (topic: string, more: Partial<Published> = {}) =>
    publish({
      ...{ topic, payload: Buffer.from('{"kg":1}'), qos: 1, clientId: "c", connection: {} },
      ...{ subject: undefined, ...more },
    });
  return { clock, store, deadLetters, streams, post, send, app };
}

const short = (level: "memory" | "local", stored: number): AppendOutcome => ({
  ...{ state: "short", reached: { level }, stored, duplicates: 0 },
});
const nothing = { stored: 0, refused: 0, skipped: 0, left: 0 };

test("I4: what is refused for now is recorded over neither HTTP nor MQTT, and pushes nothing out", async () => {
  const { store, deadLetters, post, send } = start();
  assert.equal(await post("typo", "{}"), 404);
  await send("streams/typo");
  for (const code of ["store-busy", "producer-too-fast", "disk-full", "stopping"]) {
    store.behaviour = async () => refused(code);
    assert.ok([429, 503, 507].includes(await post("scales", "{}")));
    assert.equal((await send("streams/scales")).state, "refused");
    await send("streams/scales", { qos: 0 });
  }
  store.behaviour = async () => refused("producers-too-many", false);
  await send("streams/scales");
  assert.deepEqual(
    deadLetters.list().map(({ code, source }) => [source, code]),
    [
      ["mqtt", "producers-too-many"],
      ["mqtt", "stream-unknown"],
      ["http", "stream-unknown"],
    ],
  );
});

test("I4: a will that is refused for now is recorded, since nobody sends it again", async () => {
  const { store, deadLetters, send } = start();
  store.behaviour = async () => refused("disk-full");
  await send("streams/scales", { isWill: true });
  assert.equal(deadLetters.list()[0]?.code, "disk-full");
  store.behaviour = undefined;
  assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, stored: 1 });
});

test("I19: a letter that is refused for now, or of which it is not known whether it was stored, is left as it was", async () => {
  const { store, deadLetters, streams, post, send } = start();
  await post("kegs", '{"n":1}', "?durability=peer(1)");
  await send("streams/kegs");
  streams.push({ name: "kegs", durability: { level: "local" }, mqttTopics: [] });
  const before = deadLetters.list();
  for (const outcome of [refused("store-busy"), short("memory", 0)]) {
    store.behaviour = async () => outcome;
    assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, left: 2 });
    assert.deepEqual(deadLetters.list(), before);
  }
  store.behaviour = async () => short("local", 1);
  assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, stored: 2 });
  assert.deepEqual(deadLetters.list(), []);
});

test("I4, I19: what a store that failed may have stored is no letter, and a letter that it may have stored is left", async () => {
  const { store, deadLetters, streams, post, send } = start();
  await post("kegs", "{}");
  await send("streams/kegs");
  streams.push({ name: "kegs", durability: { level: "local" }, mqttTopics: [] });
  const before = deadLetters.list();
  store.behaviour = async () => {
    throw new SkerryError({ code: "storage-failed", message: "fsync: EIO" });
  };
  assert.equal(await post("kegs", "{}"), 500);
  const verdict = await send("streams/kegs");
  assert.equal(verdict.state === "refused" && verdict.error.code, "storage-failed");
  assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, left: 2 });
  assert.deepEqual(deadLetters.list(), before);
  await send("streams/kegs", { isWill: true });
  assert.equal(deadLetters.list()[0]?.code, "storage-failed", "nobody sends a will again");
});

test("I19: retries go on for ten seconds; what was not tried by then is counted, and is first the next time", async () => {
  const { clock, store, streams, post, app } = start();
  for (let n = 0; n < 50; n++) await post("kegs", `{"n":${n}}`, "?timeoutMs=60000");
  streams.push({ name: "kegs", durability: { level: "local" }, mqttTopics: [] });
  store.behaviour = () => clock.advance(1_000).then(() => undefined);
  const retry = async () =>
    (await app.inject({ method: "POST", url: "/v1/dead-letters/retry" })).json() as unknown;
  assert.deepEqual(await retry(), { ...nothing, stored: 10, left: 40 });
  assert.deepEqual(await retry(), { ...nothing, stored: 10, left: 30 });
  assert.deepEqual(
    store.bodies(),
    Array.from({ length: 20 }, (_, n) => ({ n })),
  );
});

test("I19: an MQTT letter that waits for its turn has what is left of ten seconds with the store", async () => {
  const clock = createSimulatedClock();
  const deadLetters = createDeadLetters({ clock });
  const streams: StreamDeclaration[] = [];
  const limits: number[] = [];
  const open = Promise.withResolvers<undefined>();
  const append: Append = async (entries, { level, timeoutMs }) => {
    limits.push(timeoutMs);
    await open.promise;
    return { state: "reached", reached: level, stored: entries.length, duplicates: 0 };
  };
  const publish = createPublishing({
    ...{ clock, deadLetters, match: (topic) => createTopicMapping(() => [...streams])(topic) },
    batcher: createBatcher({ append, clock, metrics: createMetrics() }, { storeCostMax: 1 }),
  });
  const send = () =>
    publish({
      ...{ topic: "streams/kegs", payload: Buffer.from("{}"), qos: 1, clientId: "c" },
      ...{ connection: {}, subject: undefined },
    });
  await send();
  streams.push({ name: "kegs", durability: { level: "local" }, mqttTopics: [] });
  const before = send();
  await clock.advance(1);
  const retried = deadLetters.retry(() => true);
  await clock.advance(9_000);
  open.resolve(undefined);
  assert.deepEqual(await retried, { ...nothing, stored: 1 });
  assert.equal((await before).state, "stored");
  assert.deepEqual(limits, [10_000, 1_000]);
});

test("I19: a second retry beside the first is refused; each letter is stored once", async () => {
  const { store, deadLetters, streams, post, app } = start();
  for (let n = 0; n < 3; n++) await post("kegs", `{"n":${n}}`);
  streams.push({ name: "kegs", durability: { level: "local" }, mqttTopics: [] });
  const open = Promise.withResolvers<undefined>();
  store.behaviour = () => open.promise;
  const retry = () => app.inject({ method: "POST", url: "/v1/dead-letters/retry" });
  const both = Promise.all([retry(), retry()]);
  await new Promise((resolve) => setImmediate(resolve));
  open.resolve(undefined);
  const [first, second] = await both;
  assert.deepEqual(first.json(), { ...nothing, stored: 3 });
  assert.equal(second.statusCode, 409);
  assert.equal(second.json<{ error: { code: string } }>().error.code, "retry-under-way");
  assert.equal(store.stored.length, 3);
  store.behaviour = async () => {
    throw new Error("the thread ended");
  };
  await post("lost", "{}");
  streams.push({ name: "lost", durability: { level: "local" }, mqttTopics: [] });
  assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, left: 1 });
  assert.deepEqual(await deadLetters.retry(() => true), { ...nothing, left: 1 }, "not for ever");
});
