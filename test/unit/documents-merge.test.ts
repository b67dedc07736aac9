/** The merge rules of documents against a model made of their definitions. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { stable } from "../../src/api/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { decodeState, encodeState } from "../../src/data/documents/encode-state.ts";
import type { Json, JsonObject } from "../../src/data/documents/json.ts";
import { createEditor } from "../../src/data/documents/editor.ts";
import { emptyState } from "../../src/data/documents/state.ts";
import { applyMade, makeHistory, type Step } from "../support/documents-history.ts";
import { modelOf, type Made } from "../../src/drill/simulated/convergence/documents-model.ts";
import { historyBody, historySteps } from "../support/documents-steps.ts";

/** One of the orders in which a store may apply them: each after all that it knew. */
function causalOrder(history: readonly Made[], choices: readonly number[]): Made[] {
  const order: Made[] = [];
  const left = [...history];
  const applied = new Map<string, number>();
  while (left.length > 0) {
    const ready = left.filter(
      ({ origin, sequence, known }) =>
        (applied.get(origin) ?? 0) === sequence - 1 &&
        [...known].every(([other, top]) => other === origin || (applied.get(other) ?? 0) >= top),
    );
    const next = ready[(choices[order.length] ?? 0) % ready.length];
    assert.ok(next);
    order.push(next);
    applied.set(next.origin, next.sequence);
    left.splice(left.indexOf(next), 1);
  }
  return order;
}

const stateAfter = (order: readonly Made[]) => {
  const state = emptyState();
  for (const made of order) applyMade(state, made);
  return state;
};

/** A text and a plain value that say the same, and an empty one, which gives way to the text. */
const equalPuts: Step[] = ["same", "", "same"].map((t, at) => ({
  writer: [1, 0, 2][at] ?? 0,
  hlc: 0,
  actions: [{ do: "put", body: { t } }],
}));

test("M1, M2: every causal order gives the state, and the body, of the model", () => {
  fc.assert(
    fc.property(historySteps, fc.array(fc.nat(), { maxLength: 24 }), (script, choices) => {
      const history = makeHistory(script);
      const expected = modelOf(history);
      const origins = originNumbers();
      const texts = [history, causalOrder(history, choices)].map((order) => {
        const state = stateAfter(order);
        const shown = show(state);
        assert.equal(stable(shown.body), stable(expected.body));
        assert.deepEqual(
          shown.conflicts.map(({ path }) => path).sort(),
          [...expected.conflicts].sort(),
        );
        return encodeState(state, shown.body, origins);
      });
      assert.equal(texts[0], texts[1]);
    }),
    { numRuns: 1500, examples: [[equalPuts, []]] },
  );
});

test("M3: a state survives its row: it merges on as if it had never been written", () => {
  fc.assert(
    fc.property(historySteps, (script) => {
      const origins = originNumbers();
      const state = emptyState();
      let kept = emptyState();
      for (const made of makeHistory(script)) {
        applyMade(state, made);
        applyMade(kept, made);
        const shown = show(kept);
        // As the file gives it back.
        const body = shown.body && (JSON.parse(JSON.stringify(shown.body)) as JsonObject);
        kept = decodeState(encodeState(kept, shown.body, origins), body, origins);
        assert.equal(stable(show(kept)), stable(show(state)));
      }
    }),
    { numRuns: 300 },
  );
});

test("M4: a body that was put is what is read, and putting it again changes nothing", () => {
  fc.assert(
    fc.property(historySteps, historyBody, (script, target) => {
      const writes = script
        .filter((each) => "actions" in each)
        .map((each) => ({ ...each, writer: 0 }));
      const put: Step = { writer: 0, hlc: 7, actions: [{ do: "put", body: target }] };
      const history = makeHistory([...writes, put, put]);
      const shown = show(stateAfter(history)).body;
      assert.equal(stable(shown), stable(withSets(target)));
      assert.deepEqual(history.at(-1)?.changes, []);
    }),
    { numRuns: 500 },
  );
});

test("M2: concurrent writes of one field keep the value that is not shown, until somebody who knew both writes", () => {
  const become = (writer: number, hlc: number, value: Json): Step => ({
    writer,
    hlc,
    actions: [{ do: "become", path: "/a", value }],
  });
  const concurrent = [become(0, 5, "left"), become(1, 4, "right")];
  const conflicts = show(stateAfter(makeHistory(concurrent))).conflicts;
  assert.equal(conflicts.length, 1);
  assert.deepEqual(
    conflicts.map((conflict) => conflict.kind === "concurrent-writes" && conflict.shown),
    ["left"],
  );
  // However slow the clock of who settles it is.
  const settled = [
    ...concurrent,
    { writer: 2, hears: 0 },
    { writer: 2, hears: 1 },
    become(2, 0, "both"),
  ];
  const shown = show(stateAfter(makeHistory(settled)));
  assert.deepEqual([stable(shown.body), shown.conflicts], ['{"a":"both"}', []]);
});

test("M2: a contested map that is set to what it shows is written field by field, and settled", () => {
  const become = (writer: number, path: string, value: Json): Step => ({
    writer,
    hlc: 5,
    actions: [{ do: "become", path, value }],
  });
  const concurrent = [become(0, "/m", 1), become(1, "/m", 2), become(2, "/m/a", 3)];
  const state = stateAfter(makeHistory(concurrent));
  assert.deepEqual(
    [stable(show(state).body), show(state).conflicts.length],
    ['{"m":{"a":3}}', 1],
    "the map is shown, and two plain values are not",
  );
  const context = { origin: "w9", sequence: 1, hlc: 9, covers: () => true };
  const editor = createEditor(state, context, () => "register", ["/m"]);
  editor.become({ a: 3 }, "/m");
  assert.deepEqual(
    editor.changes.map(({ type, path }) => `${type} ${path}`),
    ["remove /m", "set /m/a"],
  );
  assert.deepEqual([stable(show(state).body), show(state).conflicts], ['{"m":{"a":3}}', []]);
});

test("M5: an edit that did not know of a deletion brings back the whole document, and says so", () => {
  const history = makeHistory([
    { writer: 0, hlc: 1, actions: [{ do: "put", body: { a: 1, b: 2 } }] },
    { writer: 1, hears: 0 },
    { writer: 1, hlc: 2, actions: [{ do: "delete" }] },
    { writer: 0, hlc: 1, actions: [{ do: "become", path: "/a", value: 3 }] },
  ]);
  const { body: after, conflicts } = show(stateAfter(history));
  assert.equal(stable(after), '{"a":3,"b":2}');
  assert.deepEqual(
    conflicts.map(({ kind }) => kind),
    ["deleted-and-edited"],
  );
});

test("a change that this version does not know is left out, and what is beside it applied", () => {
  const state = emptyState();
  const made = makeHistory([
    { writer: 0, hlc: 1, actions: [{ do: "become", path: "/a", value: 1 }] },
  ])[0]!;
  const later = { type: "rotate", path: "/a", angle: 3 } as unknown as Made["changes"][number];
  applyMade(state, { ...made, changes: [later, ...made.changes] });
  assert.equal(stable(show(state).body), '{"a":1}');
});

/** Sets have no order and no repetition. */
function withSets(target: JsonObject): JsonObject {
  const s = Object.hasOwn(target, "s") ? (target["s"] as readonly Json[]) : undefined;
  if (!s || s.length === 0) return target;
  const members = new Map(s.map((each) => [stable(each), each]));
  return {
    ...target,
    s: [...members].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each),
  };
}

function originNumbers() {
  const names: string[] = [];
  return {
    numberOf(name: string) {
      if (!names.includes(name)) names.push(name);
      return names.indexOf(name);
    },
    originOf: (number: number) => names[number] ?? "",
  };
}
