/** Events of a node: recorded once each, whatever happens to the connection that carries them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createNodeEvents } from "../../src/agent/node-events.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { Resources, WriteResult } from "../../src/resources/index.ts";
import { silentLog } from "../../src/lib/log.ts";

/** A server whose answers are lost, or that cannot be reached, as often as `answers` says. */
function startEvents(answers: ("lost" | "unreachable" | "forbidden" | "given")[]) {
  const clock = createSimulatedClock();
  const recorded: string[] = [];
  let asked = 0;
  const create: Resources["create"] = async (_kind, object) => {
    asked += 1;
    const { name } = object.metadata;
    const answer = answers.shift() ?? "given";
    if (answer === "unreachable") throw new Error("no server of the cell answers");
    if (answer === "forbidden") return { state: "refused", reason: "forbidden", message: "no" };
    const exists = recorded.includes(name);
    if (!exists) recorded.push(name);
    const result: WriteResult<typeof object> = exists
      ? { state: "refused", reason: "exists", message: `${name} exists` }
      : { state: "done", object };
    return answer === "lost" ? { state: "unknown", cause: new Error("cut") } : result;
  };
  const events = createNodeEvents(
    { clock, random: seededRandom(7), log: silentLog, events: { create } },
    { node: "n2" },
  );
  const tell = () =>
    events.tell({
      about: { apiVersion: "v1", kind: "Node", name: "n2" },
      ...{ type: "Normal", reason: "Moved", message: "n2 moved", component: "skerry-node" },
    });
  return { clock, recorded, events, tell, asked: () => asked };
}

test("an event whose answer was lost is written again under its name, and stands there once", async () => {
  const { clock, recorded, tell, asked } = startEvents(["unreachable", "lost"]);
  tell();
  await clock.advance(3000);
  assert.equal(recorded.length, 1);
  assert.equal(asked(), 3);
  await clock.advance(60_000);
  assert.equal(asked(), 3, "it is asked no more once an answer has come");
  assert.equal(clock.pending, 0);
});

test("an event that is refused is not asked for again", async () => {
  const { clock, recorded, tell, asked } = startEvents(["forbidden"]);
  tell();
  await clock.advance(60_000);
  assert.deepEqual([recorded.length, asked(), clock.pending], [0, 1, 0]);
});

test("an event that cannot be recorded is given up in the end, and at the agent's", async () => {
  const never = () => Array.from({ length: 1000 }, () => "unreachable" as const);
  const patient = startEvents(never());
  patient.tell();
  await patient.clock.advance(600_000);
  assert.deepEqual([patient.asked(), patient.clock.pending], [300, 0]);

  const stopped = startEvents(never());
  stopped.tell();
  await stopped.clock.advance(5000);
  stopped.events.stop();
  assert.equal(stopped.clock.pending, 0);
});
