import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createDeadLetters, topicMatches } from "../../src/ingest/index.ts";
import { parseObjectEntry, parsePayload } from "../../src/ingest/entry-body.ts";
import { createFrameMeter } from "../../src/ingest/mqtt/frames.ts";
import { strongest } from "../../src/ingest/batcher.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array) => new TextDecoder().decode(value);

test("I2: topic filters match as a naive oracle says (property)", () => {
  const oracle = (filter: string[], topic: string[]): boolean => {
    const [head, ...rest] = filter;
    if (head === undefined) return topic.length === 0;
    if (head === "#") return rest.length === 0;
    if (topic.length === 0) return false;
    return (head === "+" || head === topic[0]) && oracle(rest, topic.slice(1));
  };
  const level = fc.constantFrom("a", "b", "", "c");
  fc.assert(
    fc.property(
      fc.array(fc.oneof(level, fc.constantFrom("+", "#")), { minLength: 1, maxLength: 5 }),
      fc.array(level, { minLength: 1, maxLength: 5 }),
      (filter, topic) => {
        assert.equal(topicMatches(filter.join("/"), topic.join("/")), oracle(filter, topic));
      },
    ),
    { numRuns: 2000 },
  );
  assert.equal(topicMatches("#", "$SYS/clients"), false);
  assert.equal(topicMatches("a/#", "a"), true);
});

test("I5: the frame meter judges the same however the bytes are cut (property)", () => {
  const packet = (length: number) => {
    const header = [0x30];
    let rest = length;
    do {
      header.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
      rest = Math.floor(rest / 128);
    } while (rest > 0);
    return Buffer.concat([Buffer.from(header), Buffer.alloc(length, 0xff)]);
  };
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0, max: 300 }),
      (lengths, cuts, packetBytesMax) => {
        const stream = Buffer.concat(lengths.map(packet));
        const meter = createFrameMeter({ packetBytesMax });
        let refusedAt: number | undefined;
        for (let at = 0, i = 0; at < stream.length && refusedAt === undefined; i++) {
          const end = at + (cuts[i % cuts.length] ?? 1);
          const verdict = meter.accept(stream.subarray(at, end));
          if (!verdict.ok) refusedAt = verdict.bytes;
          at = end;
        }
        assert.equal(
          refusedAt,
          lengths.find((length) => length > packetBytesMax),
        );
      },
    ),
  );
});

test("a body without reserved fields keeps its bytes; with them it loses only them", () => {
  const plain = parseObjectEntry(bytes('{ "a" : 1.50 }'));
  assert.ok(plain.ok);
  assert.equal(text(plain.entry.body), '{ "a" : 1.50 }');
  const reserved = parseObjectEntry(
    bytes('{"id":12345678901234567890,"$key":{"producer":"p","epoch":0,"sequence":7},"$at":5}'),
  );
  assert.ok(reserved.ok);
  assert.equal(text(reserved.entry.body), '{"id":12345678901234567890}');
  assert.deepEqual(reserved.entry.key, { producer: "p", epoch: 0, sequence: 7 });
  assert.equal(reserved.entry.atMs, 5);
});

test("any JSON comes through the MQTT payload unchanged (property)", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const result = parsePayload(bytes(JSON.stringify(value)));
      assert.ok(result.ok);
      const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
      const expected = JSON.parse(JSON.stringify(isObject ? value : { value }));
      assert.deepEqual(JSON.parse(text(result.entry.body)), expected);
    }),
  );
});

test("payloads that are not JSON never throw and are always an object (property)", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (payload) => {
      const result = parsePayload(payload);
      assert.ok(result.ok);
      assert.equal(typeof JSON.parse(text(result.entry.body)), "object");
    }),
  );
});

test("bad reserved fields are named with what was given and what is allowed", () => {
  for (const [line, message] of [
    ['{"$key":1}', /^\$key must be .*got a number/],
    ['{"$key":{"producer":"","epoch":1,"sequence":1}}', /^\$key\.producer must be 1 to 128 bytes/],
    ['{"$key":{"producer":"p","epoch":-1,"sequence":1}}', /^\$key\.epoch .* got -1/],
    ['{"$key":{"producer":"p","epoch":1,"sequence":0}}', /^\$key\.sequence .* got 0/],
    ['{"$key":{"producer":"p","epoch":1,"sequence":1,"x":1}}', /^\$key\.x is unknown/],
    ['{"$at":"yesterday"}', /^\$at must be .* got "yesterday"/],
    ["[]", /^ must be a JSON object, got an array/],
    ["nonsense", /^ is not JSON in UTF-8/],
  ] as const) {
    const result = parseObjectEntry(bytes(line));
    assert.ok(!result.ok, line);
    assert.match(`${result.problem.field} ${result.problem.message}`, message);
  }
});

test("deep nesting is an answer, not a crash", () => {
  const deep = `{"$at":1,"a":${"[".repeat(60_000)}${"]".repeat(60_000)}}`;
  const result = parseObjectEntry(bytes(deep));
  assert.equal(result.ok, false);
});

test("I4: dead letters are bounded and count on", () => {
  const letters = createDeadLetters({ clock: createSimulatedClock() }, { lettersMax: 3 });
  for (let i = 0; i < 5; i++)
    letters.record({
      source: "http",
      code: "invalid-entry",
      message: `m${i}`,
      payload: bytes("x".repeat(9999)),
    });
  assert.deepEqual(
    letters.list().map(({ message }) => message),
    ["m4", "m3", "m2"],
  );
  assert.equal(letters.countByCode.get("invalid-entry"), 5);
  assert.equal(letters.list()[0]?.excerpt.length, 1024);
});

test("the strongest of several durability levels", () => {
  const peer = (peers: number) => ({ level: "peer", peers }) as const;
  assert.deepEqual(strongest([{ level: "local" }, peer(1), peer(2), { level: "memory" }]), peer(2));
  assert.deepEqual(strongest([{ level: "hub" }, peer(2)]), { level: "hub" });
});
