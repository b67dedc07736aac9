/** Joined states against the state of a store that applied everything itself. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { show } from "../../src/data/documents/body.ts";
import { encodeState } from "../../src/data/documents/encode-state.ts";
import { joinStates, type Side } from "../../src/data/documents/join.ts";
import { emptyState } from "../../src/data/documents/state.ts";
import type { Made } from "../../src/drill/simulated/convergence/documents-model.ts";
import { applyMade, makeHistory, originOf } from "../support/documents-history.ts";
import { historySteps } from "../support/documents-steps.ts";

/** What a store has that applied these, and all that they knew of. */
function sideOf(history: readonly Made[], wanted: readonly Made[]): Side {
  const tops = new Map<string, number>();
  const raise = (origin: string, top: number) =>
    tops.set(origin, Math.max(tops.get(origin) ?? 0, top));
  for (const { origin, sequence, known } of wanted) {
    raise(origin, sequence);
    for (const [other, top] of known) raise(other, top);
  }
  const covers: Side["covers"] = (dot) => dot.sequence <= (tops.get(dot.origin) ?? 0);
  const state = emptyState();
  for (const made of history) if (covers(made)) applyMade(state, made);
  return { state, covers };
}

test("M14: two states join to that of a store with the operations of both, whatever these are", () => {
  const numbers = ["", ...[0, 1, 2].map(originOf)];
  const origins = {
    numberOf: (origin: string) => numbers.indexOf(origin),
    originOf: (number: number) => numbers[number] ?? "",
  };
  const textOf = (state: Side["state"]) => encodeState(state, show(state).body, origins);
  fc.assert(
    fc.property(
      historySteps,
      fc.array(fc.nat({ max: 3 }), { maxLength: 24 }),
      (script, choices) => {
        const history = makeHistory(script);
        const chosen = (bit: number) =>
          history.filter((_, index) => ((choices[index] ?? index) & bit) !== 0);
        const [ours, theirs] = [sideOf(history, chosen(1)), sideOf(history, chosen(2))];
        const whole = sideOf(history, [...chosen(1), ...chosen(2)]);
        const expected = textOf(whole.state);
        assert.equal(textOf(joinStates(ours, theirs)), expected);
        assert.equal(textOf(joinStates(theirs, ours)), expected);
        assert.equal(textOf(joinStates(whole, ours)), expected);
      },
    ),
    { numRuns: 1500 },
  );
});
