/** Quantities, names and selectors, against naive oracles. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  dnsLabelProblem,
  dnsSubdomainProblem,
  formatFieldSelector,
  formatRequirements,
  isQuantity,
  labelKeyProblem,
  labelValueProblem,
  matchesFields,
  matchesLabels,
  matchesRequirements,
  parseFieldSelector,
  parseLabelSelector,
  parseMilliQuantity,
  parseQuantity,
  podKind,
  sameValue,
  stable,
  type LabelRequirement,
} from "../../src/api/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { pod } from "../support/resources.ts";

const hasCode = (code: string) => (error: unknown) =>
  error instanceof SkerryError && error.code === code;

test("quantities are what Kubernetes means by them", () => {
  const cases: [string | number, number][] = [
    ["100m", 0.1],
    ["0.5", 0.5],
    [2, 2],
    ["64Mi", 64 * 2 ** 20],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["1G", 1e9],
    ["12e3", 12_000],
    ["5k", 5000],
    [".5", 0.5],
    ["250u", 0.00025],
  ];
  for (const [text, value] of cases) assert.equal(parseQuantity(text), value, String(text));
  for (const text of ["", "x", "1 Gi", "1mi", "--1", "1e", "0x10", "Infinity"])
    assert.equal(isQuantity(text), false, text);
  assert.throws(
    () => parseQuantity("64Mo", "spec.memory"),
    (error) => hasCode("invalid-quantity")(error) && /spec\.memory/.test(String(error)),
  );
});

test("thousandths are exact and round up", () => {
  assert.equal(parseMilliQuantity("0.07"), 70);
  assert.equal(parseMilliQuantity("1500u"), 2);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000_000 }), (milli) => {
      assert.equal(parseMilliQuantity(`${milli}m`), milli);
      assert.equal(parseMilliQuantity(String(milli / 1000)), milli);
    }),
  );
});

test("names", () => {
  assert.equal(dnsLabelProblem("web-1"), undefined);
  for (const text of ["", "-a", "a-", "A", "a.b", "a".repeat(64)])
    assert.notEqual(dnsLabelProblem(text), undefined, text);
  assert.equal(dnsSubdomainProblem("a.b-c.d"), undefined);
  for (const text of ["", "a..b", ".a", "a.", "a".repeat(254)])
    assert.notEqual(dnsSubdomainProblem(text), undefined, text);
  assert.equal(labelKeyProblem("app.kubernetes.io/name"), undefined);
  for (const text of ["", "/a", "a/", "a/b/c", "A_B/c", "a b"])
    assert.notEqual(labelKeyProblem(text), undefined, text);
  assert.equal(labelValueProblem(""), undefined);
  assert.notEqual(labelValueProblem("a b"), undefined);
});

const plain = { noNullPrototype: true } as const;
const key = fc.constantFrom("app", "tier", "example.com/zone");
const value = fc.constantFrom("a", "b", "web-1", "x.y");
const labels = fc.dictionary(key, value);
const requirement: fc.Arbitrary<LabelRequirement> = fc.oneof(
  fc.record(
    {
      operator: fc.constantFrom("in" as const, "not-in" as const),
      key,
      values: fc.uniqueArray(value, { minLength: 1, maxLength: 3 }),
    },
    plain,
  ),
  fc.record({ operator: fc.constantFrom("exists" as const, "absent" as const), key }, plain),
);

test("a label selector survives being written and read", () => {
  fc.assert(
    fc.property(fc.array(requirement, { maxLength: 4 }), (requirements) => {
      assert.deepEqual(parseLabelSelector(formatRequirements(requirements)), requirements);
    }),
  );
});

test("label selectors match as a naive reading of them does", () => {
  const oracle = (requirements: readonly LabelRequirement[], given: Record<string, string>) => {
    let matches = true;
    for (const one of requirements) {
      const has = Object.keys(given).includes(one.key);
      if (one.operator === "exists" && !has) matches = false;
      if (one.operator === "absent" && has) matches = false;
      if (one.operator === "in" && !one.values.some((v) => has && given[one.key] === v))
        matches = false;
      if (one.operator === "not-in" && one.values.some((v) => has && given[one.key] === v))
        matches = false;
    }
    return matches;
  };
  fc.assert(
    fc.property(fc.array(requirement, { maxLength: 4 }), labels, (requirements, given) => {
      assert.equal(matchesRequirements(requirements, given), oracle(requirements, given));
      const parsed = parseLabelSelector(formatRequirements(requirements));
      assert.equal(matchesRequirements(parsed, given), oracle(requirements, given));
    }),
  );
});

test("selector texts as people write them", () => {
  const match = (text: string, given: Record<string, string>) =>
    matchesRequirements(parseLabelSelector(text), given);
  assert.ok(match("app=web, tier in (front, back),!old", { app: "web", tier: "back" }));
  assert.ok(match("app==web", { app: "web" }));
  assert.ok(match("app!=web", {}));
  assert.ok(match("tier notin (x)", { tier: "y" }));
  assert.ok(match("", {}));
  assert.ok(!match("app", {}));
  for (const text of ["app=web,", "=x", "a in b", "a in (b", "a b", "app=a b", "(a)"])
    assert.throws(() => parseLabelSelector(text), hasCode("invalid-selector"), text);
  assert.ok(matchesLabels({ matchExpressions: [{ key: "a", operator: "DoesNotExist" }] }, {}));
  assert.ok(matchesLabels({}, { any: "thing" }));
});

test("a field selector survives being written and read", () => {
  const one = fc.record(
    {
      field: fc.constantFrom("metadata.name", "spec.nodeName"),
      operator: fc.constantFrom("equals" as const, "differs" as const),
      value: fc.string({ unit: fc.constantFrom("a", "-", ",", "=", "\\", ".") }),
    },
    plain,
  );
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 3 }), (requirements) => {
      assert.deepEqual(parseFieldSelector(formatFieldSelector(requirements)), requirements);
    }),
  );
});

test("field selectors know the fields of their kind", () => {
  const on = (text: string) =>
    matchesFields(podKind, parseFieldSelector(text), pod("a", { nodeName: "n1" }));
  assert.ok(on("metadata.name=a,spec.nodeName!=n2"));
  assert.ok(!on("metadata.namespace=other"));
  assert.throws(() => on("spec.color=red"), hasCode("invalid-selector"));
  assert.throws(() => parseFieldSelector("spec.nodeName"), hasCode("invalid-selector"));
});

test("equal values have equal texts, whatever the order of their keys", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      const shuffled = JSON.parse(JSON.stringify(json), (_key, inner: unknown) =>
        typeof inner === "object" && inner !== null && !Array.isArray(inner)
          ? Object.fromEntries(Object.entries(inner).toReversed())
          : inner,
      );
      assert.equal(stable(shuffled), stable(json));
      assert.ok(sameValue(shuffled, json));
    }),
  );
  assert.ok(!sameValue({ a: 1 }, { a: 2 }));
});
