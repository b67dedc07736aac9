/** P4: a body that need not be written anew is, byte for byte, what writing it anew would make of it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { EgressPolicy } from "../../src/api/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { parseBody, writeBody } from "../../src/privacy/gate/body.ts";
import { isCanonical } from "../../src/privacy/gate/canonical.ts";
import { createGate, type GatedBatch } from "../../src/privacy/gate/index.ts";
import { compilePolicy, filter } from "../../src/privacy/gate/policy.ts";
import { bodiesOf, logOf } from "../support/gated.ts";

const anew = (bytes: Uint8Array): Buffer | undefined => {
  const value = parseBody(bytes);
  return value && Buffer.from(writeBody(value));
};
/** Never a yes in vain; a no costs time only. */
const holds = (bytes: Uint8Array): boolean => {
  if (!isCanonical(bytes)) return false;
  assert.deepEqual(anew(bytes)?.toString("latin1"), Buffer.from(bytes).toString("latin1"));
  return true;
};

const name = fc.constantFrom("a", "b", "aa", "a.b", "0", "1", "-1", "__proto__", "toJSON", "ключ");
const digits = fc.stringMatching(/^-?\d{0,18}(\.\d{0,18})?([eE][+-]?\d{0,3})?$/);
const json = fc.letrec<{ json: string; object: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom("true", "false", "null", '""', "[]", "{}", '"\u2028"', '"\u{1f511}"'),
    digits,
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.string({ maxLength: 4 }).map((text) => JSON.stringify(text)),
    fc.array(tie("json"), { maxLength: 3 }).map((items) => `[${items.join(",")}]`),
    tie("object"),
  ),
  object: fc
    .array(fc.tuple(name, tie("json")), { maxLength: 4 })
    .map(
      (fields) => `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`,
    ),
}));

test("P4: what is said to be canonical is what would be written, whatever comes", () => {
  const found = { yes: 0, no: 0 };
  fc.assert(
    fc.property(json.object, (text) => {
      if (holds(Buffer.from(text))) found.yes++;
      else found.no++;
    }),
    { seed: 7, numRuns: 5000 },
  );
  assert.ok(found.yes > 500 && found.no > 500, JSON.stringify(found));
});

test("P4: one byte changed, put in or taken out is seen where it matters", () => {
  const put = fc.uint8Array({ maxLength: 2 });
  fc.assert(
    fc.property(json.object, fc.nat(), fc.nat(2), put, (text, at, cut, bytes) => {
      const body = Buffer.from(text);
      const from = at % (body.length + 1);
      holds(Buffer.concat([body.subarray(0, from), bytes, body.subarray(from + cut)]));
    }),
    { numRuns: 5000 },
  );
});

test("P4: readings as they come are canonical; what JavaScript would write otherwise is not", () => {
  for (const text of [
    '{"cpu":19.55,"memory":123122351,"disk":{"read":46,"write":[76,-1]},"state":"läuft","on":true}',
    '{"a":0,"b":-0.5,"c":0.000001,"d":123456789012345,"e":null,"f":[],"g":{}}',
    "{}",
  ])
    assert.ok(holds(Buffer.from(text)), text);
  for (const text of [
    '{"a": 1}',
    '{"a":1} ',
    '{"a":1.0}',
    '{"a":-0}',
    '{"a":1e5}',
    '{"a":0.0000001}',
    '{"a":1234567890123456}',
    '{"a":01}',
    '{"a":1,"a":1}',
    '{"2":1,"1":1}',
    '{"a":"\\u0041"}',
    '{"a":"\t"}',
    '{"a":nul}',
    '{"a":1,}',
    '{"a"}',
    "[]",
    "",
  ])
    assert.ok(!isCanonical(Buffer.from(text)), text);
  assert.ok(!isCanonical(Buffer.from([0x7b, 0x22, 0x61, 0xff, 0x22, 0x3a, 0x31, 0x7d])));
  assert.ok(!isCanonical(Buffer.from(`{"a":${"[".repeat(100)}${"]".repeat(100)}}`)));
});

test("P4: a body among others is judged as if it stood alone", () => {
  const texts = fc.array(
    fc.oneof(json.object, fc.constantFrom("{", "}", '{"a":1', '{"a":"b', "")),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(texts, (all) => {
      const whole = Buffer.from(all.join(""));
      let from = 0;
      for (const text of all) {
        const to = from + Buffer.byteLength(text);
        assert.equal(isCanonical(whole, from, to), isCanonical(whole.subarray(from, to)), text);
        from = to;
      }
    }),
    { numRuns: 3000 },
  );
});

test("P2, P3, P4: the gate lets out what it would write, of canonical bodies too", () => {
  const paths = fc.array(fc.constantFrom("a", "b", "a.b", "aa", "b.a"), { maxLength: 3 });
  const policyOf = fc.record({ keep: paths, drop: paths }, { requiredKeys: [] });
  const found = { same: 0, less: 0 };
  fc.assert(
    fc.property(json.object, policyOf, (text, policy: EgressPolicy) => {
      let sent: GatedBatch | undefined;
      const encode = (batch: GatedBatch) => {
        sent = batch;
        return new Uint8Array();
      };
      const gate = createGate({ encode, log: silentLog });
      gate.setPolicies({ s: policy });
      const body = Buffer.from(text);
      const entry = { stream: "s", atMs: 1, body, position: { origin: "n1.a", sequence: 1 } };
      gate.clear(logOf("n1.a", [entry]));
      const value = parseBody(body);
      const wanted = value ? writeBody(filter(compilePolicy(policy), value)) : Buffer.from("{}");
      const [left] = sent ? bodiesOf(sent) : [];
      assert.equal(left, Buffer.from(wanted).toString());
      if (left === text) found.same++;
      else found.less++;
    }),
    { seed: 7, numRuns: 5000 },
  );
  assert.ok(found.same > 200 && found.less > 200, JSON.stringify(found));
});
