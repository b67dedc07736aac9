import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { readEnvironment } from "../../src/keeper/containers/exec.ts";

test("D6: a process in the middle of execve, which shows no environment, is looked at again", async () => {
  const clock = createSimulatedClock();
  const shown = ["", "", "WORD=ahoy\0PATH=/bin:/x=y\0"];
  const env = readEnvironment({ clock }, () => shown.shift() ?? "");
  await clock.advance(1000);
  assert.deepEqual(await env, { WORD: "ahoy", PATH: "/bin:/x=y" });
});

test("D6: a container without variables is believed in the end", async () => {
  const clock = createSimulatedClock();
  const env = readEnvironment({ clock }, () => "");
  await clock.advance(1000);
  assert.deepEqual(await env, {});
});
