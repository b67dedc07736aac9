/** What was refused: how much of it is kept, and what a retry makes of it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createDeadLetters } from "../../src/ingest/dead-letters.ts";
import type { Retried } from "../../src/ingest/retries.ts";
import { createPublishing, type Published } from "../../src/ingest/mqtt/publish.ts";
import { createBatcher, type StreamDeclaration } from "../../src/ingest/index.ts";
import { createTopicMapping } from "../../src/ingest/mapping.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore } from "../support/ingest.ts";

const again = {
  ...{ by: "http" as const, stream: "scales", sender: "spiffe://c.skerry/app/a" },
  ...{ query: {}, headers: { "content-type": "application/json" }, atMs: 7 },
};
const letter = (code: string, bytes: number) => ({
  ...{ source: "http" as const, code, message: code, payload: new Uint8Array(bytes), again },
});
const stored = async (): Promise<Retried> => ({ state: "stored" });

test("I5, I19: letters are bounded by number, and what of them is whole by bytes, the oldest first", async () => {
  const letters = createDeadLetters({ clock: createSimulatedClock() }, { lettersMax: 30 });
  letters.retryBy("http", stored);
  for (let i = 0; i < 40; i++) letters.record(letter("stream-unknown", 200_000));
  const kept = letters.list();
  assert.deepEqual([kept[0]?.id, kept.at(-1)?.id, kept.length], [40, 11, 30]);
  assert.equal(kept.filter(({ retryable }) => retryable).length, 20, "4 MiB");
  assert.ok(kept.slice(0, 20).every(({ retryable }) => retryable));
  letters.record(letter("stream-unknown", 300_000));
  assert.equal(letters.list()[0]?.retryable, false, "one that is too large is not kept whole");
  letters.record(letter("invalid-entry", 10));
  assert.equal(letters.list()[0]?.retryable, false, "nor what no store would take");
  assert.deepEqual(await letters.retry(({ id }) => id >= 39), {
    stored: 2,
    refused: 0,
    skipped: 2,
    left: 0,
  });
  assert.deepEqual(
    letters
      .list()
      .slice(0, 3)
      .map(({ id }) => id),
    [42, 41, 38],
  );
});

test("I4: connections that are refused are one letter for each sender and reason, the latest, and push nothing out", () => {
  const letters = createDeadLetters({ clock: createSimulatedClock() }, { lettersMax: 10 });
  letters.record(letter("stream-unknown", 1));
  const refuse = (sender: string, code: string, message: string) =>
    letters.record({ source: "mqtt", code, message, sender, payload: new Uint8Array() });
  for (let i = 0; i < 50; i++) {
    refuse("10.0.0.1", "unauthenticated", `bad password ${i}`);
    refuse("10.0.0.1", "invalid-packet", `malformed ${i}`);
    refuse("10.0.0.2", "unauthenticated", `another's ${i}`);
  }
  const message = { ...letter("unauthenticated", 0), sender: "10.0.0.1" };
  letters.record({ ...message, source: "mqtt", topic: "a" });
  letters.record({ ...message, source: "mqtt", topic: "b" });
  const listed = letters.list();
  assert.deepEqual(
    listed.map(({ topic, message: text }) => topic ?? text),
    ["b", "a", "another's 49", "malformed 49", "bad password 49", "stream-unknown"],
  );
  const ids = listed.map(({ id }) => id);
  assert.deepEqual(
    ids,
    ids.toSorted((one, other) => other - one),
    "as a restart lists them",
  );
  assert.equal(letters.countByCode.get("unauthenticated"), 102);
});

test("I19: what is refused again stays, with the reason of now", async () => {
  const letters = createDeadLetters({ clock: createSimulatedClock() });
  letters.record(letter("stream-unknown", 1));
  assert.deepEqual(await letters.retry(() => true), { stored: 0, refused: 0, skipped: 1, left: 0 });
  letters.retryBy("http", async () => ({ state: "refused", code: "forbidden", message: "no" }));
  assert.deepEqual(await letters.retry(() => true), { stored: 0, refused: 1, skipped: 0, left: 0 });
  assert.deepEqual(
    letters.list().map(({ code, message, retryable }) => [code, message, retryable]),
    [["forbidden", "no", true]],
  );
  assert.deepEqual([...letters.countByCode], [["stream-unknown", 1]]);
});

test("I19: an MQTT message is taken once its stream is declared and its sender may write to it", async () => {
  const clock = createSimulatedClock();
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock });
  let streams: readonly StreamDeclaration[] = [];
  let isAllowed = false;
  const publish = createPublishing({
    batcher: createBatcher({ append: store.append, clock, metrics: createMetrics() }),
    ...{ deadLetters, clock, match: (topic) => createTopicMapping(() => streams)(topic) },
    authorize: () => isAllowed,
  });
  const payload = Buffer.from('{"kg":1}');
  const message: Published = {
    ...{ topic: "streams/scales", payload, qos: 1, clientId: "scale-1", connection: {} },
    subject: { id: "spiffe://c.skerry/app/scale-1" },
  };
  const cameMs = clock.wallMs();
  assert.equal((await publish(message)).state, "refused");
  // The connection's buffer is used again.
  payload.fill(0);
  await clock.advance(5_000);
  assert.deepEqual(await deadLetters.retry(() => true), {
    stored: 0,
    refused: 1,
    skipped: 0,
    left: 0,
  });
  streams = [{ name: "scales", durability: { level: "local" }, mqttTopics: [] }];
  assert.deepEqual(await deadLetters.retry(() => true), {
    stored: 0,
    refused: 1,
    skipped: 0,
    left: 0,
  });
  assert.equal(deadLetters.list()[0]?.code, "forbidden");
  isAllowed = true;
  assert.deepEqual(await deadLetters.retry(() => true), {
    stored: 1,
    refused: 0,
    skipped: 0,
    left: 0,
  });
  assert.deepEqual(store.bodies(), [{ kg: 1 }]);
  assert.equal(store.stored[0]?.atMs, cameMs);
  assert.deepEqual(deadLetters.list(), []);
});
