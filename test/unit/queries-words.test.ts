/** The words of a query: conditions as text, what a request may say, the order of values. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { checkQuery } from "../../src/data/queries/check.ts";
import { parseExpression } from "../../src/data/queries/expression.ts";
import { createExactSum } from "../../src/data/queries/exact-sum.ts";
import { compareText, sortKey } from "../../src/data/queries/values.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { order, values } from "../support/queries.ts";

test("a condition as text is the condition that it says", () => {
  const says = (text: string, wanted: unknown) =>
    assert.deepEqual(JSON.parse(JSON.stringify(parseExpression(text))), wanted, text);
  const open = { op: "=", path: "status", value: "open" };
  const dear = { op: ">", path: "total", value: 100 };
  says('status = "open"', open);
  says("status='open'", open);
  says('status = "open" and total > 100', { op: "and", of: [open, dear] });
  // "and" binds closer than "or", "not" closer than both.
  says('status = "open" or total > 100 and not id exists', {
    op: "or",
    of: [open, { op: "and", of: [dear, { op: "not", of: { op: "exists", path: "id" } }] }],
  });
  says('(status = "open" or total > 100) and a.b_2.c-d exists', {
    op: "and",
    of: [
      { op: "or", of: [open, dear] },
      { op: "exists", path: "a.b_2.c-d" },
    ],
  });
  says("/a~1b/ü != -1.5e3", { op: "!=", path: "/a~1b/ü", value: -1500 });
  says('"/with space" <= true', { op: "<=", path: "/with space", value: true });
  says('größe in (1, "x", null, [1, {"a": []}])', {
    op: "in",
    path: "größe",
    values: [1, "x", null, [1, { a: [] }]],
  });
  says("tags contains 'gift'", { op: "contains", path: "tags", value: "gift" });
  says("name prefix 'it\\'s \"a\" \\u00e9'", { op: "prefix", path: "name", value: 'it\'s "a" é' });
  // Words of the language are fields where a field stands, and SQL is text.
  says("not not in = 1", { op: "not", of: { op: "not", of: { op: "=", path: "in", value: 1 } } });
  says('name = "\'; DROP TABLE document; --"', {
    op: "=",
    path: "name",
    value: "'; DROP TABLE document; --",
  });
});

test("what is wrong with a condition is told with its place", () => {
  const fails = (text: string, at: number, message: RegExp) =>
    assert.throws(
      () => parseExpression(text),
      (error) => {
        assert.ok(error instanceof SkerryError, String(error));
        assert.equal(error.code, "invalid-query");
        assert.match(error.message, message);
        assert.deepEqual(error.details, { at }, text);
        assert.ok(error.message.startsWith(`where, character ${at + 1}: `));
        assert.equal(error.hint, `${text.slice(Math.max(0, at - 60), at)}⟵ here`);
        return true;
      },
    );
  fails("", 0, /expected a field such as total.*found the end/);
  fails("total >", 7, /expected a value.*found the end/);
  fails('status = "open" and', 19, /expected a field/);
  fails("total > 100 total", 12, /expected and, or, or the end, found total/);
  fails("total ~ 3", 6, /"~" has no meaning here/);
  fails("total like 3", 6, /expected =, !=, .*found like/);
  fails('status = "open', 9, /text without its end/);
  fails("status = open", 9, /expected a value: "text".*found open/);
  fails("(a = 1", 6, /expected "\)", found the end/);
  fails("a in 1", 5, /expected "\(", found 1/);
  fails("a in (1,)", 8, /expected a value/);
  fails("a < null", 4, /< compares numbers, text, true and false/);
  fails("a prefix 3", 9, /expected text/);
  fails('a = "\\x"', 4, /as JSON writes it/);
  fails("a = 1e999", 4, /past 1.8e308/);
  fails(`${"(".repeat(40)}a = 1`, 33, /nested more than 32 deep/);
  fails(`a = ${"[".repeat(40)}`, 37, /nested more than 32 deep/);
  fails(`a = "${"x".repeat(20_000)}"`, 16 * 1024, /longer than 16384/);
});

test("a request is refused with its field, and nothing in it is passed over", () => {
  const fails = (request: unknown, message: RegExp) =>
    assert.throws(() => checkQuery(request as never), { code: "invalid-query", message });
  fails([], /^body: must be an object/);
  fails({ wher: "a = 1" }, /^wher: is not known here; known are where, /);
  fails({ where: 3 }, /^where: must be text, or an object/);
  fails(
    { where: { op: "and", of: [{ op: "=", path: "/a" }] } },
    /^where\.of\[0\]\.value: is missing/,
  );
  fails({ where: { op: "and", of: ["a = 1"] } }, /^where\.of\[0\]: must be/);
  fails({ where: { op: "<", path: "/a", value: [1] } }, /^where\.value: of < must be a number/);
  fails({ where: { op: "~", path: "/a" } }, /^where\.op: "~" must be =, /);
  fails({ where: { op: "=", path: ["a"], value: 1 } }, /^where\.path: .*must be a field/);
  fails({ where: { op: "=", path: "/a~2", value: 1 } }, /^where\.path: "\/a~2" must be a field/);
  fails(
    { where: { op: "prefix", path: "/a", value: "\ud83d" } },
    /^where\.value: .*whole characters/,
  );
  fails({ sort: "total" }, /^sort: must be a list/);
  fails({ sort: [1] }, /^sort\[0\]: must be text/);
  fails({ limit: 0 }, /^limit: 0 must be a whole number from 1 to 1000/);
  fails({ timeoutMs: 1e9 }, /^timeoutMs: /);
  fails(
    { aggregate: ["median(total)"] },
    /^aggregate\[0\]: "median\(total\)" must be count or one of/,
  );
  fails({ aggregate: ["sum"] }, /^aggregate\[0\]: "sum" must be/);
  fails({ aggregate: ["count", "count"] }, /^aggregate\[1\]: "count" is there twice/);
  fails({ by: ["status"], sort: ["total"] }, /^sort: does not go with/);
  const nested = (depth: number): unknown =>
    depth === 0 ? { op: "exists", path: "/a" } : { op: "not", of: nested(depth - 1) };
  fails({ where: nested(40) }, /nested more than 32 deep/);
  const many = Array.from({ length: 200 }, () => ({ op: "exists", path: "/a" }));
  fails({ where: { op: "or", of: many } }, /one condition too many/);
});

test("Q2: sort keys are in the order of the values", () => {
  fc.assert(
    fc.property(values, values, (a, b) => {
      const found = sortKey(a as never).compare(sortKey(b as never));
      assert.equal(Math.sign(found), Math.sign(order(a, b)), JSON.stringify([a, b]));
      if (typeof a === "string" && typeof b === "string" && a.length < 60 && b.length < 60)
        assert.equal(Math.sign(compareText(a, b)), Math.sign(found), JSON.stringify([a, b]));
    }),
    { numRuns: 3000 },
  );
});

test("Q1: a sum does not depend on the order, and is the nearest number to the true one", () => {
  const total = (numbers: readonly number[]) => {
    const sum = createExactSum();
    for (const number of numbers) sum.add(number);
    return sum.total();
  };
  assert.equal(total([0.1, 0.2, -0.3]), 2.7755575615628914e-17, "0.1 + 0.2 - 0.3 is 5.5e-17");
  assert.equal(total([1e308, 1e308, -1e308]), 1e308);
  assert.equal(total([1e308, 1e308]), undefined);
  assert.equal(total([2 ** 53, 1, 1]), 2 ** 53 + 2);
  assert.equal(total([1e300, 1, -1e300]), 1);
  assert.equal(total([5e-324, 5e-324]), 1e-323);
  assert.equal(total([]), 0);
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true })), (numbers) => {
      assert.equal(total(numbers), total(numbers.toReversed()));
      assert.equal(total([...numbers, ...numbers.map((number) => -number)]), 0);
    }),
  );
});
