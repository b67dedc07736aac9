import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import {
  createAdmission,
  type AdmissionOptions,
} from "../../src/traffic/engines/node/admission.ts";

/** An event loop whose turns the test makes; `said` holds what became of each request. */
function admission(options?: AdmissionOptions) {
  const clock = createSimulatedClock();
  const turns: (() => void)[] = [];
  const queue = createAdmission({ clock, afterRead: (turn) => turns.push(turn) }, options);
  const said: string[] = [];
  const ask = (name: string, isGone = () => false) => {
    void (async () => said.push(`${name} ${await queue.admit(isGone)}`))();
  };
  const turn = async (lastsMs = 1) => {
    await clock.advance(lastsMs);
    turns.shift()?.();
    await clock.advance(0);
    return said.splice(0);
  };
  return { queue, turns, ask, turn };
}

test("T14: a request is taken up after a turn in which the end behind it could be read", async () => {
  const { turns, ask, turn } = admission();
  let hasLeft = false;
  ask("a");
  ask("b", () => hasLeft);
  assert.deepEqual(await turn(), []);
  hasLeft = true;
  assert.deepEqual(await turn(), ["a begin", "b gone"]);
  assert.equal(turns.length, 0, "nothing turns while nothing waits");
});

test("T14: a few per turn, in the order in which they came; who has gone does not count", async () => {
  const { queue, ask, turn } = admission({ perTurnMax: 2 });
  for (const name of ["a", "b", "c", "d", "e"]) ask(name, () => name === "a");
  await turn();
  assert.deepEqual(await turn(), ["a gone", "b begin", "c begin"]);
  assert.equal(queue.waiting, 2);
  assert.deepEqual(await turn(), ["d begin", "e begin"]);
  assert.equal(queue.waiting, 0);
});

test("T14: a queue that does not empty serves the newest first and tells the others so", async () => {
  const { queue, turns, ask, turn } = admission({ perTurnMax: 1 });
  const outcomes: string[] = [];
  let asked = 0;
  const crowded = async () => {
    ask(`${asked++}`);
    ask(`${asked++}`);
    outcomes.push(...(await turn(10)));
  };
  for (let i = 0; i < 8; i++) await crowded();
  const inOrder = ["0", "1", "2", "3", "4", "5", "6"];
  assert.deepEqual(
    outcomes.splice(0),
    inOrder.map((name) => `${name} begin`),
  );
  for (let i = 0; i < 200; i++) await crowded();
  const begun = outcomes.filter((each) => each.endsWith("begin"));
  assert.ok(begun.length >= 195, `${begun.length} were taken up in 200 turns`);
  assert.equal(begun.at(-1), `${asked - 3} begin`, "the newest whose turn has come");
  const turnedAway = outcomes.filter((each) => each.endsWith("overloaded"));
  assert.ok(turnedAway.length >= 100, `${turnedAway.length} were told`);
  assert.ok(queue.waiting < 60, `${queue.waiting} wait`);

  // Nobody comes any more: it empties.
  while (turns.length > 0) outcomes.push(...(await turn(10)));
  assert.equal(outcomes.length + inOrder.length, asked);
});

test("T14: standing still turns nobody away", async () => {
  const { ask, turn } = admission({ perTurnMax: 1 });
  for (const name of ["a", "b", "c"]) ask(name);
  await turn(60_000);
  assert.deepEqual(await turn(60_000), ["c begin"]);
  assert.deepEqual(await turn(60_000), ["b begin"]);
  assert.deepEqual(await turn(60_000), ["a begin"]);
});
