/** Subscriptions against a naive model: every filter compared with every topic. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { topicMatches } from "../../src/ingest/index.ts";
import { createSubscriptions } from "../../src/ingest/mqtt/subscriptions.ts";
import { parseFilter, topicProblem } from "../../src/ingest/mqtt/topics.ts";

const level = fc.constantFrom("a", "b", "", "$x");
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filter = fc
  .tuple(
    fc.array(fc.oneof(level, fc.constant("+")), { minLength: 1, maxLength: 4 }),
    fc.constantFrom("", "/#"),
  )
  .map(([levels, rest]) => levels.join("/") + rest);
const text = fc
  .tuple(fc.constantFrom("", "$share/g/", "$share/h/"), filter)
  .map(([group, rest]) => group + rest)
  .filter((made) => parseFilter(made).ok);
const step = fc.record({
  action: fc.constantFrom("add", "add", "remove"),
  subscriber: fc.integer({ min: 0, max: 4 }),
  text,
});

test("subscriptions match as a naive model says, shared ones by group (property)", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 40 }),
      fc.array(topic, { minLength: 1, maxLength: 8 }),
      (steps, topics) => {
        const tree = createSubscriptions<number>();
        const model = new Map<string, { subscriber: number; text: string }>();
        for (const { action, subscriber, text: made } of steps) {
          const key = `${subscriber} ${made}`;
          const one = { text: made, qos: 1, noLocal: false, retainAsPublished: false } as const;
          if (action === "add") {
            assert.equal(tree.add(subscriber, one), !model.has(key));
            model.set(key, { subscriber, text: made });
          } else assert.equal(tree.remove(subscriber, made), model.delete(key));
          assert.equal(tree.size, model.size);
          for (const name of topics) check(tree.match(name), [...model.values()], name);
        }
      },
    ),
    { numRuns: 200 },
  );
});

function check(
  found: ReturnType<ReturnType<typeof createSubscriptions<number>>["match"]>,
  model: readonly { subscriber: number; text: string }[],
  name: string,
): void {
  const expected = { plain: [] as string[], groups: new Map<string, number[]>() };
  for (const { subscriber, text: made } of model) {
    const parsed = parseFilter(made);
    assert.ok(parsed.ok);
    if (!topicMatches(parsed.value.filter, name)) continue;
    if (parsed.value.group === undefined) expected.plain.push(`${subscriber} ${made}`);
    else expected.groups.set(made, [...(expected.groups.get(made) ?? []), subscriber]);
  }
  const plain = found.plain.flatMap(({ subscriber, subscriptions }) =>
    subscriptions.map((one) => `${subscriber} ${one.text}`),
  );
  assert.deepEqual(plain.sort(), expected.plain.sort());
  assert.equal(new Set(found.plain.map(({ subscriber }) => subscriber)).size, found.plain.length);
  const groups = found.groups.map(({ members }) => {
    const [[, first] = []] = [...members];
    return [first?.text ?? "", [...members.keys()].sort()] as const;
  });
  assert.deepEqual(
    groups.sort(([a], [b]) => (a < b ? -1 : 1)),
    [...expected.groups]
      .map(([made, all]) => [made, all.sort()])
      .sort(([a = ""], [b = ""]) => (a < b ? -1 : 1)),
  );
}

test("filters and topics that MQTT does not allow are named", () => {
  for (const wrong of [
    "",
    "a/#/b",
    "a#",
    "+a",
    "$SYS/#",
    "$share/g",
    "$share//a",
    "$share/+/a",
    "a\u0000",
  ])
    assert.equal(parseFilter(wrong).ok, false, wrong);
  for (const good of ["#", "+/+/#", "/", "a/b", "$share/g/#", "$share/g//a"])
    assert.equal(parseFilter(good).ok, true, good);
  for (const wrong of ["", "a/+", "#", "$a", "a\u0000", "x".repeat(1025), "a/".repeat(32)])
    assert.ok(topicProblem(wrong), wrong);
  for (const good of ["a", "/", "a//b", "a b"]) assert.equal(topicProblem(good), undefined, good);
});
