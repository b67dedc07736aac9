/** The egress gate against a naive oracle: every leaf is judged by its own path, one by one. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { columnsOf, type EgressPolicy, type StoredEntry } from "../../src/api/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createGate,
  createRecheck,
  type GatedBatch,
  type Recheck,
} from "../../src/privacy/gate/index.ts";
import { bodiesOf, logOf } from "../support/gated.ts";

const entryOf = (body: string | Uint8Array, stream = "s"): StoredEntry => ({
  stream,
  atMs: 1,
  body: typeof body === "string" ? Buffer.from(body) : body,
  position: { origin: "n1.a", sequence: 1 },
});

const check = (
  recheck: Recheck,
  { entries, policies }: { entries: readonly StoredEntry[]; policies?: GatedBatch["policies"] },
) => recheck.check({ columns: columnsOf(entries), ...(policies ? { policies } : {}) });

/** What leaves of entries; the hub lets it in. */
function leaving(policy: EgressPolicy | undefined, bodies: readonly string[]): string[] {
  let sent: GatedBatch | undefined;
  const gate = createGate({
    log: silentLog,
    encode(batch) {
      sent = batch;
      return new Uint8Array();
    },
  });
  gate.setPolicies(policy ? { s: policy } : {});
  const entries = bodies.map((body, index) => ({
    ...entryOf(body),
    position: { origin: "n1.a", sequence: index + 1 },
  }));
  gate.clear(logOf("n1.a", entries));
  if (!sent) return [];
  createRecheck().check(sent);
  return bodiesOf(sent);
}
const through = (policy: EgressPolicy | undefined, body: string) => leaving(policy, [body])[0];

/** Names on the way to every leaf and empty container; arrays add nothing. */
type Leaf = { names: string[]; value: unknown };
function leaves(value: unknown, names: string[] = []): Leaf[] {
  if (Array.isArray(value))
    return value.length === 0 ? [{ names, value }] : value.flatMap((item) => leaves(item, names));
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value);
    return fields.length === 0
      ? [{ names, value }]
      : fields.flatMap(([name, field]) => leaves(field, [...names, name]));
  }
  return [{ names, value }];
}

const escape = (name: string) => name.replaceAll("\\", "\\\\").replaceAll(".", "\\.");
const pathText = (names: readonly string[]) => names.map(escape).join(".");
const startsWith = (names: readonly string[], path: readonly string[]) =>
  path.length <= names.length && path.every((name, index) => names[index] === name);
const spells = (names: readonly string[], path: readonly string[]) =>
  names.some((_, index) => names.slice(0, index + 1).join(".") === path.join("."));

const name = fc.constantFrom(
  "a",
  "b",
  "c",
  "a.b",
  "0",
  "1",
  "__proto__",
  "constructor",
  "ключ",
  "\u{1f511}",
  "\\",
  "toJSON",
);
const names = fc.array(name, { minLength: 1, maxLength: 3 });
const { json } = fc.letrec<{ json: unknown; object: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(1, "text", null, true, 1.5, {}, []),
    fc.array(tie("json"), { maxLength: 3 }),
    tie("object"),
  ),
  object: fc.array(fc.tuple(name, tie("json")), { maxLength: 4 }),
}));
/** As text, so that `__proto__` and repeated names come as they would from outside. */
const textOf = (value: unknown): string => {
  if (
    Array.isArray(value) &&
    value.every((item) => Array.isArray(item) && typeof item[0] === "string" && item.length === 2)
  )
    return `{${value.map(([key, field]) => `${JSON.stringify(key)}:${textOf(field)}`).join(",")}}`;
  if (Array.isArray(value)) return `[${value.map(textOf).join(",")}]`;
  return JSON.stringify(value);
};
const bodyText = fc
  .array(fc.tuple(name, json), { maxLength: 5 })
  .map(
    (fields) =>
      `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${textOf(field)}`).join(",")}}`,
  );

test("P2: with keep, exactly the fields named leave, against the oracle", () => {
  fc.assert(
    fc.property(bodyText, fc.array(names, { maxLength: 4 }), (body, keep) => {
      const out = through({ keep: keep.map(pathText) }, body);
      const expected = leaves(JSON.parse(body)).filter((leaf) =>
        keep.some((path) => startsWith(leaf.names, path)),
      );
      const got = out === "{}" ? [] : leaves(JSON.parse(out ?? ""));
      assert.deepEqual(got, expected.length === 0 ? [] : expected);
    }),
    { numRuns: 2000 },
  );
});

test("P3: with drop, no dropped field leaves and every other does, against the oracle", () => {
  fc.assert(
    fc.property(bodyText, fc.array(names, { maxLength: 4 }), (body, drop) => {
      const out = leaves(JSON.parse(through({ drop: drop.map(pathText) }, body) ?? ""));
      const dropped = (leaf: Leaf) => drop.some((path) => spells(leaf.names, path));
      assert.deepEqual(out.filter(dropped), []);
      const scalar = ({ value }: Leaf) => typeof value !== "object" || value === null;
      assert.deepEqual(
        out.filter(scalar),
        leaves(JSON.parse(body)).filter((leaf) => scalar(leaf) && !dropped(leaf)),
      );
    }),
    { numRuns: 2000 },
  );
});

test("P2, P3: keep and drop together: kept, less what is dropped", () => {
  assert.equal(
    through(
      { keep: ["a", "b.c"], drop: ["a.secret"] },
      '{"a":{"secret":1,"x":2},"b":{"c":3,"d":4}}',
    ),
    '{"a":{"x":2},"b":{"c":3}}',
  );
  // What held nothing but what is dropped goes as well: the hub would refuse it, and all behind it.
  const policy = { keep: ["a.b.c", "x"], drop: ["a.b"] };
  assert.equal(through(policy, '{"a":{"b":{"c":1}},"x":1}'), '{"x":1}');
  assert.equal(through(policy, '{"a":[{"b":{"c":1}}],"x":1}'), '{"x":1}');
  assert.equal(through({ keep: ["a"], drop: ["a.b"] }, '{"a":{"b":1}}'), '{"a":{}}');
});

test("P1: without a policy, or with an empty one, nothing leaves", () => {
  assert.equal(through(undefined, '{"a":1}'), undefined);
  assert.equal(through({}, '{"a":1}'), "{}");
  assert.equal(through({ keep: [] }, '{"a":1}'), "{}");
});

test("P2, P3: the cases that look harmless", () => {
  assert.equal(
    through({ keep: ["items.price"] }, '{"items":[{"price":1,"name":"x"},5,[{"price":2}]]}'),
    '{"items":[{"price":1},[{"price":2}]]}',
  );
  assert.equal(through({ keep: ["a.b"] }, '{"a.b":1,"a":{"b":2}}'), '{"a":{"b":2}}');
  assert.equal(through({ keep: ["a\\.b"] }, '{"a.b":1,"a":{"b":2}}'), '{"a.b":1}');
  assert.equal(through({ drop: ["a.b"] }, '{"a.b":1,"a":{"b":2,"c":3}}'), '{"a":{"c":3}}');
  assert.equal(through({ keep: ["x"] }, '{"__proto__":{"x":1},"x":2}'), '{"x":2}');
  assert.equal(through({ drop: ["__proto__"] }, '{"__proto__":{"x":1},"x":2}'), '{"x":2}');
  assert.equal(
    through({ keep: ["__proto__.x"] }, '{"__proto__":{"x":1,"y":3},"x":2}'),
    '{"__proto__":{"x":1}}',
  );
  assert.equal(through({ drop: ["secret"] }, '{"secret":1,"\\u0073ecret":2}'), "{}");
  assert.equal(through({ keep: ["a"] }, '{"a":{"toJSON":1}}'), '{"a":{"toJSON":1}}');
});

test("P4: numbers keep their digits; what is not JSON leaves as {}", () => {
  assert.equal(
    through({ keep: ["ns", "big", "f"] }, '{"ns":1700000000000000001,"big":1e400,"f":0.1,"x":1}'),
    '{"ns":1700000000000000001,"big":1e400,"f":0.1}',
  );
  for (const body of ["{oops", "[1]", '"text"', ""])
    assert.equal(through({ drop: ["x"] }, body), "{}");
});

test("P7: a policy that cannot be read lets nothing out", () => {
  for (const path of ["a..b", "", ".a", "a.", "a\\b"]) {
    assert.equal(through({ keep: [path] }, '{"a":{"b":1}}'), undefined);
    assert.equal(through({ drop: [path] }, '{"a":{"b":1}}'), undefined);
  }
});

test("P6: the hub refuses a batch that breaks its own policy, and counts it", () => {
  const recheck = createRecheck();
  const policies = { s: { keep: ["a"] } };
  check(recheck, { entries: [entryOf('{"a":1}'), entryOf("{}")], policies });
  const bad = [
    { entries: [entryOf('{"a":1}'), entryOf('{"a":1,"b":2}')], policies },
    { entries: [entryOf('{"a":1}', "other")], policies },
    { entries: [entryOf('{"a":1}', "__proto__")], policies },
    { entries: [entryOf('{"a":1}')] },
    { entries: [entryOf("nonsense")], policies },
  ];
  for (const batch of bad) assert.throws(() => check(recheck, batch), { code: "egress-violated" });
  assert.equal(recheck.violations, bad.length);
});

test("P6: a body is judged by itself, whatever stands beside it", () => {
  const policies = { s: { drop: ["none"] } };
  const bodies = fc.constantFrom('{"a":1}', "{}", ' {"a":[1,{}]} ', '{"ä":"ö"}', "\t{ }\n");
  fc.assert(
    fc.property(fc.array(bodies, { minLength: 1, maxLength: 5 }), fc.nat(), (texts, at) => {
      const entries = texts.map((text) => entryOf(text));
      check(createRecheck(), { entries, policies });
      assert.equal(leaving(policies.s, texts).length, texts.length);
      // The same bytes, cut where no body ends.
      const whole = Buffer.concat(entries.map(({ body }) => body));
      const ends = columnsOf(entries).end;
      const cut = 1 + (at % (whole.length - 1));
      if (ends.includes(cut) || (texts[0] ?? "").trimEnd().length <= cut) return;
      const pieces = [entryOf(whole.subarray(0, cut)), entryOf(whole.subarray(cut))];
      assert.throws(() => check(createRecheck(), { entries: pieces, policies }), {
        code: "egress-violated",
      });
    }),
  );
});

const policyOf = fc.record(
  {
    keep: fc.array(names.map(pathText), { maxLength: 4 }),
    drop: fc.array(names.map(pathText), { maxLength: 3 }),
  },
  { requiredKeys: [] },
);
const passes = (policy: EgressPolicy, body: string | Uint8Array): boolean => {
  try {
    check(createRecheck(), { entries: [entryOf(body)], policies: { s: policy } });
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "egress-violated");
    return false;
  }
};
/** Written with other spaces, as another writer of JSON might. */
const written = {
  tight: (body: string) => body,
  wide: (body: string) => JSON.stringify(JSON.parse(body), null, "\t"),
};

test("P6: the hub's look at the bytes finds exactly what the policy would take away, against the gate", () => {
  fc.assert(
    fc.property(bodyText, policyOf, fc.constantFrom("tight", "wide"), (text, policy, way) => {
      // Of a repeated name one member is left: what is hidden behind it is another test's.
      const body = JSON.stringify(JSON.parse(text));
      const leaves = through(policy, body) === body;
      assert.equal(passes(policy, written[way](body)), leaves);
      if (passes(policy, text)) assert.ok(leaves);
    }),
    { numRuns: 1500 },
  );
});

test("P6: what a repeated or an escaped name hides is found", () => {
  const keep = { keep: ["a.b", "c"] };
  assert.ok(!passes(keep, '{"a":{"secret":1},"a":{"b":2}}'));
  assert.ok(!passes(keep, '{"a":{},"a":{"b":2}}'));
  assert.ok(passes(keep, '{"\\u0061":{"\\u0062":2},"c":[1,{"d":[]}]}'));
  assert.ok(!passes({ drop: ["secret"] }, '{"\\u0073ecret":1}'));
  assert.ok(!passes({ drop: ["a.b"] }, '{"a":[[{"b":1}]]}'));
});

test("P6: only what is one JSON object is taken, however deep", () => {
  const isObject = (text: string) => {
    try {
      const value: unknown = JSON.parse(text);
      return typeof value === "object" && value !== null && !Array.isArray(value);
    } catch {
      return false;
    }
  };
  const letters = fc.constantFrom(...'{}[]":,\\ 01.eE+-tfnul\t\u0001é');
  fc.assert(
    fc.property(
      bodyText,
      fc.nat(),
      fc.nat(3),
      fc.array(letters, { maxLength: 2 }),
      (text, at, cut, put) => {
        const from = at % (text.length + 1);
        const changed = text.slice(0, from) + put.join("") + text.slice(from + cut);
        assert.equal(passes({ drop: [] }, changed), isObject(changed));
      },
    ),
    { numRuns: 1500 },
  );
  for (const number of ["-0", "0.5", "1E+9", "01", ".5", "1.", "-", "1e", "+1", "0x1"])
    assert.equal(passes({ drop: [] }, `{"a":${number}}`), isObject(`{"a":${number}}`));
  const deep = 200_000;
  assert.ok(passes({ drop: ["x"] }, `{"a":${"[".repeat(deep)}${"]".repeat(deep)}}`));
  assert.ok(!passes({ drop: [] }, `{"a":${"[".repeat(deep)}`));
});
