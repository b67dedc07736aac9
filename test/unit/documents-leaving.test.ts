/** What of operations leaves the cell, against a naive oracle: the document less what stays. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { stable, type EgressPolicy } from "../../src/api/index.ts";
import { show } from "../../src/data/documents/body.ts";
import {
  decodeLeaving,
  encodeLeaving,
  encodeLeavingSnapshot,
} from "../../src/data/documents/leaving.ts";
import { applyWrite } from "../../src/data/documents/merge.ts";
import type { Operation } from "../../src/data/documents/operation.ts";
import { emptyState } from "../../src/data/documents/state.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createOperationGate,
  createOperationRecheck,
  type GatedOperations,
} from "../../src/privacy/gate/index.ts";
import type { Made } from "../../src/drill/simulated/convergence/documents-model.ts";
import { applyMade, contextOf, makeHistory } from "../support/documents-history.ts";
import { leaving } from "../support/documents-leaving.ts";
import { historySteps } from "../support/documents-steps.ts";

const log = silentLog;
const recheck = createOperationRecheck();

function gated(
  policy: EgressPolicy | undefined,
  operations: readonly Operation[],
): GatedOperations {
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log,
  });
  gate.setPolicies(policy ? { c: { policy, revision: 1 } } : {});
  const piece = { origin: "n1.a", from: 1, to: operations.length, operations, vector: {} };
  const cleared = gate.clear(piece, ["c"]);
  assert.ok(cleared);
  const { shapes: _, ...batch } = decodeLeaving(cleared.bytes);
  recheck.check(batch);
  return batch;
}

const operationOf = ({
  hlc,
  verb,
  changes,
}: Pick<Made, "hlc" | "verb" | "changes">): Operation => ({
  hlc,
  seen: {},
  writes: [{ collection: "c", id: "d", verb, changes }],
});

const paths = fc.subarray(["a", "a.x", "a.y", "a.y.z", "b", "n", "s", "l", "l.k", "__proto__"]);
const policies: fc.Arbitrary<EgressPolicy> = fc.record(
  { keep: paths, drop: paths },
  { requiredKeys: [] },
);

test("M10: whatever was written in whatever order, what left merges to the document less what stays", () => {
  fc.assert(
    fc.property(historySteps, policies, (script, policy) => {
      const history = makeHistory(script);
      const [here, there] = [emptyState(), emptyState()];
      for (const made of history) {
        applyMade(here, made);
        const { operations } = gated(policy, [operationOf(made)]);
        for (const write of operations.flatMap(({ writes }) => writes))
          applyWrite(there, write, contextOf(made));
      }
      const [whole, left] = [show(here), show(there)];
      assert.equal(stable(left.body), stable(whole.body && leaving(policy, whole.body)));
      const told = new Map(whole.conflicts.map((conflict) => [conflict.path, stable(conflict)]));
      for (const conflict of left.conflicts) {
        const original = told.get(conflict.path);
        assert.ok(
          original !== undefined,
          `a conflict at ${conflict.path} that the cell does not have`,
        );
        if ("others" in conflict)
          for (const { value } of conflict.others) assert.ok(original.includes(stable(value)));
      }
    }),
    { numRuns: 700 },
  );
});

test("P1, P8: no value, name, key or unknown kind of what stays is in the bytes that leave", () => {
  const secret = "hunter2";
  const operation = {
    hlc: 7,
    seen: { "n2.b": 4 },
    key: secret,
    extra: secret,
    writes: [
      { collection: "other", id: secret, verb: "edit", changes: [] },
      {
        collection: "c",
        id: "d",
        verb: "edit",
        extra: secret,
        changes: [
          { type: "set", path: "/open", value: "fine", extra: secret },
          { type: "set", path: `/${secret}`, value: 1 },
          { type: "set", path: "/some", value: secret },
          { type: "set", path: "/some", value: [{ open: 1, closed: secret }] },
          { type: "set", path: "/open", value: 1, counts: { [`/${secret}`]: { "n1.a": [1, 2] } } },
          { type: "remove", path: "", counts: { "/some/n": { "n1.a": [1, 2] }, "/open": {} } },
          { type: "count", path: "/some/n", by: 424242 },
          { type: "add", path: "/some/s", value: secret },
          { type: "discard", path: "/some/s", value: secret },
          { type: "insert", path: "/some/l", after: null, n: 1, values: [secret] },
          { type: "delete", path: `/some/${secret}`, ids: ["1@n1.a"] },
          { type: "drawing", path: "/open", value: secret },
        ],
      },
    ],
  } as unknown as Operation;
  const { operations } = gated({ keep: ["open", "some.open"] }, [operation]);
  assert.doesNotMatch(JSON.stringify(operations), /hunter2|424242|other|some\/n/);
  assert.deepEqual(operations, [
    {
      hlc: 7,
      seen: { "n2.b": 4 },
      writes: [
        {
          collection: "c",
          id: "d",
          verb: "edit",
          changes: [
            { type: "set", path: "/open", value: "fine" },
            { type: "remove", path: "/some" },
            { type: "remove", path: "/some" },
            { type: "set", path: "/open", value: 1 },
            { type: "remove", path: "", counts: { "/open": {} } },
          ],
        },
      ],
    },
  ]);
});

test("P1: without a policy, or with one that cannot be read, nothing of a collection leaves", () => {
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log,
  });
  const operation = operationOf({ hlc: 1, verb: "edit", changes: [] });
  const piece = { origin: "n1.a", from: 1, to: 1, operations: [operation], vector: {} };
  assert.equal(gate.clear(piece, ["c"]), undefined);
  gate.setPolicies({ c: { policy: { keep: ["a..b"] }, revision: 1 } });
  assert.equal(gate.clear(piece, ["c"]), undefined);
});

test("M11: positions with nothing for the hub are covered by one, with all that was seen on the way", () => {
  const idle = (seen: Record<string, number>): Operation => ({
    hlc: 5,
    seen,
    key: "k",
    writes: [{ collection: "other", id: "x", verb: "edit", changes: [] }],
  });
  const real = operationOf({ hlc: 9, verb: "edit", changes: [] });
  const { operations } = gated({ keep: ["a"] }, [
    idle({ "n2.b": 1 }),
    idle({ "n2.b": 3, "n3.c": 1 }),
    real,
    idle({}),
  ]);
  assert.deepEqual(operations, [
    { hlc: 0, seen: { "n2.b": 3, "n3.c": 1 }, writes: [], covers: 2 },
    real,
    { hlc: 0, seen: {}, writes: [], covers: 1 },
  ]);
});

test("P6: the hub refuses a batch that holds more than its policy lets out", () => {
  const batch = (operation: Operation): GatedOperations => ({
    origin: "n1.a",
    from: 1,
    to: 1,
    operations: [operation],
    vector: {},
    collections: { c: { policy: { keep: ["a"] }, revision: 1 } },
  });
  const leak = { type: "set", path: "/b", value: 1 } as const;
  const fine = { type: "set", path: "/a", value: 1 } as const;
  recheck.check(batch(operationOf({ hlc: 1, verb: "edit", changes: [fine] })));
  for (const operation of [
    operationOf({ hlc: 1, verb: "edit", changes: [fine, leak] }),
    { ...operationOf({ hlc: 1, verb: "edit", changes: [fine] }), key: "k" },
    {
      hlc: 1,
      seen: {},
      writes: [{ collection: "x", id: "d", verb: "edit", changes: [] }],
    } as const,
  ])
    assert.throws(() => recheck.check(batch(operation)), { code: "egress-violated" });
});
