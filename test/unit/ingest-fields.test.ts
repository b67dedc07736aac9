/** Levels of a topic that become fields of the entry. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  checkObject,
  streamKind,
  type EgressPolicy,
  type StoredEntry,
} from "../../src/api/index.ts";
import { createDeadLetters } from "../../src/ingest/dead-letters.ts";
import { createBatcher, topicMatches, type StreamDeclaration } from "../../src/ingest/index.ts";
import { createTopicMapping } from "../../src/ingest/mapping.ts";
import { createPublishing, type Published } from "../../src/ingest/mqtt/publish.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createGate, type GatedBatch } from "../../src/privacy/gate/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { bodiesOf, logOf } from "../support/gated.ts";
import { createTestStore } from "../support/ingest.ts";

const streamOf = (name: string, ...mqttTopics: string[]): StreamDeclaration => ({
  ...{ name, durability: { level: "local" }, mqttTopics },
});

function start(...streams: StreamDeclaration[]) {
  const clock = createSimulatedClock();
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock });
  const publish = createPublishing({
    batcher: createBatcher({ append: store.append, clock, metrics: createMetrics() }),
    ...{ deadLetters, clock, match: createTopicMapping(() => streams) },
    authorize: ({ id }, stream) => id === "app" || stream === "open",
  });
  const send = (topic: string, payload: string | Buffer, more: Partial<Published> = {}) =>
    publish({
      ...{ topic, payload: Buffer.from(payload), qos: 1, clientId: "c", connection: {} },
      ...{ subject: { id: "app" }, ...more },
    });
  const bodies = () =>
    store.stored.map(({ stream, body }) => `${stream} ${Buffer.from(body).toString()}`);
  return { store, deadLetters, send, bodies };
}

const problemsOf = (topic: string): string[] => {
  const checked = checkObject(streamKind, {
    ...{ apiVersion: "skerry.dev/v1alpha1", kind: "Stream", metadata: { name: "s" } },
    spec: { mqtt: { topics: ["ok/+", topic] } },
  });
  return checked.ok ? [] : checked.issues.map(({ field, message }) => `${field}: ${message}`);
};

test("I23: names of levels are checked when the Stream is applied, and the place is named", () => {
  for (const topic of ["shop/{shop}/weight", "{a}/{b2_c}", "a/{b}/#", "{a}", "a//b", "a/+"])
    assert.deepEqual(problemsOf(topic), [], topic);
  for (const [topic, expected] of [
    ["shop/{}/w", /^spec\.mqtt\.topics\[1\]: "shop\/\{\}\/w" names a level "": a name is a letter/],
    ["shop/{a-b}/w", /names a level "a-b": a name is a letter/],
    ["shop/{$key}", /names a level "\$key": a name is a letter/],
    [`shop/{${"a".repeat(64)}}`, /a name is a letter/],
    ["{a}/{b}/{a}", /names two levels "a"/],
    ["a/{value}", /names a level "value": under this name a payload/],
    ["a/{encoding}", /names a level "encoding"/],
    ["shop-{shop}/w", /names a part of a level: "\{NAME\}" stands for one whole level/],
    ["a/{b", /names a part of a level/],
    ["{a}#", /is not an MQTT topic filter/],
    ["a/#/{b}", /is not an MQTT topic filter/],
    ["", /is not an MQTT topic filter/],
  ] as const) {
    const [problem = "", ...others] = problemsOf(topic);
    assert.match(problem, expected);
    assert.deepEqual(others, []);
  }
});

test("I23: a level with a name matches as + does, and its field is what stands there (property)", () => {
  const level = fc.constantFrom("a", "b", "", "$x", "ü", "{z}");
  const filterLevel = fc.constantFrom("a", "b", "+", "{n}", "{m}");
  fc.assert(
    fc.property(
      fc.uniqueArray(filterLevel, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      fc.array(level, { minLength: 1, maxLength: 4 }),
      (levels, rest, topic) => {
        const filter = [...levels, ...(rest ? ["#"] : [])];
        const match = createTopicMapping(() => [streamOf("s", filter.join("/"))])(topic.join("/"));
        const plain = filter.map((one) => (one.startsWith("{") ? "+" : one)).join("/");
        assert.equal(match.state === "streams", topicMatches(plain, topic.join("/")));
        if (match.state !== "streams") return;
        const named = levels.flatMap((one, index) =>
          one.startsWith("{") ? [[one.slice(1, -1), topic[index]] as const] : [],
        );
        const expected = named.length === 0 ? undefined : Object.fromEntries(named);
        assert.deepEqual(match.streams[0]?.fields, expected);
      },
    ),
    { numRuns: 1000 },
  );
});

test("I23: fields join the payload as text; the topic wins; what is no object is wrapped as ever", async () => {
  const { send, bodies, store } = start(streamOf("w", "shop/{shop}/{scale}"));
  await send("shop/7/left", '{"grams":980,"n":12345678901234567890}');
  await send("shop/7/left", '{"shop":8,"at":1}');
  await send("shop//left", "{}");
  await send("shop/7/left", "21.5");
  await send("shop/7/left", "warm");
  await send("shop/7/left", "[1]");
  await send("shop/7/left", Buffer.from([0xff]));
  await send("shop/7/left", '{"$key":{"producer":"p","epoch":1,"sequence":1},"$at":5,"g":1}');
  await send("streams/w", '{"shop":9}');
  assert.deepEqual(bodies(), [
    'w {"grams":980,"n":12345678901234567890,"shop":"7","scale":"left"}',
    'w {"shop":"7","at":1,"scale":"left"}',
    'w {"shop":"","scale":"left"}',
    'w {"value":21.5,"shop":"7","scale":"left"}',
    'w {"value":"warm","shop":"7","scale":"left"}',
    'w {"value":[1],"shop":"7","scale":"left"}',
    'w {"value":"/w==","encoding":"base64","shop":"7","scale":"left"}',
    'w {"g":1,"shop":"7","scale":"left"}',
    'w {"shop":9}',
  ]);
  assert.deepEqual(store.stored[7]?.key, { producer: "p", epoch: 1, sequence: 1 });
  assert.equal(store.stored[7]?.atMs, 5);
});

test("I23, I2: each stream has its own fields, by the first of its filters that matches", async () => {
  const { send, bodies } = start(
    streamOf("both", "shop/{shop}/#", "shop/+/{kind}"),
    streamOf("open", "shop/#"),
  );
  const payload = '{ "grams" : 1 }';
  await send("shop/7/weight", payload);
  assert.deepEqual(bodies(), ['both {"grams":1,"shop":"7"}', `open ${payload}`]);
});

test("I23, I4: an entry that its fields make too large is refused for all streams, with the reason", async () => {
  const { send, store, deadLetters } = start(
    streamOf("w", "shop/{shop}"),
    streamOf("open", "shop/#"),
  );
  const payload = JSON.stringify({ text: "x".repeat(256 * 1024 - 20) });
  const verdict = await send("shop/7777777777777", payload);
  assert.ok(verdict.state === "refused" && verdict.error.code === "invalid-entry");
  assert.match(verdict.error.message, /the payload is 26\d+ bytes long; at most 262144/);
  assert.deepEqual(store.stored, []);
  assert.equal(deadLetters.list()[0]?.stream, "w");
});

test("I23, I9: who may not append to a stream may not by a topic with names either", async () => {
  const { send, store } = start(streamOf("w", "shop/{shop}"));
  const verdict = await send("shop/7", "{}", { subject: { id: "nobody" } });
  assert.ok(verdict.state === "refused" && verdict.error.code === "forbidden");
  assert.deepEqual(store.stored, []);
});

test("I23, P: fields of the topic leave the cell as those of the payload do: where egress names them", async () => {
  const { send, store } = start(streamOf("w", "shop/{shop}/{scale}"));
  await send("shop/7/left", '{"grams":980,"operator":"Kim"}');
  const leaving = (policy: EgressPolicy | undefined) => {
    let sent: GatedBatch | undefined;
    const gate = createGate({
      log: silentLog,
      encode(batch) {
        sent = batch;
        return new Uint8Array();
      },
    });
    gate.setPolicies(policy ? { w: policy } : {});
    const entries = store.stored.map((entry): StoredEntry => ({
      ...entry,
      atMs: 1,
      position: { origin: "n1.a", sequence: 1 },
    }));
    gate.clear(logOf("n1.a", entries));
    return sent ? bodiesOf(sent) : [];
  };
  assert.deepEqual(leaving({ keep: ["grams"] }), ['{"grams":980}']);
  assert.deepEqual(leaving({ keep: ["grams", "shop"] }), ['{"grams":980,"shop":"7"}']);
  assert.deepEqual(leaving(undefined), []);
});
