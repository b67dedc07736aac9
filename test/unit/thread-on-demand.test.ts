/** Threads that are there while they are needed. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createOnDemandThread, type Thread } from "../../src/runtime/thread/index.ts";

type Methods = { echo: (argument: string) => string };

function start(isNeeded?: () => boolean) {
  const clock = createSimulatedClock();
  const state = { started: 0, ended: 0 };
  let die = (): void => {};
  const thread = createOnDemandThread<Methods>(
    { clock },
    {
      ...{ what: "echoes", idleMs: 1_000, ...(isNeeded ? { isNeeded } : {}) },
      async start() {
        state.started++;
        const ended = Promise.withResolvers<Error | undefined>();
        die = () => ended.resolve(new Error("it died"));
        const made: Thread<Methods> = {
          call: async (_method, argument) => argument as never,
          on: () => () => {},
          ended: ended.promise,
          async terminate() {
            state.ended++;
            ended.resolve(undefined);
          },
        };
        return made;
      },
    },
  );
  const echo = (text: string) => thread.use((running) => running.call("echo", text));
  return { clock, thread, state, echo, die: () => die() };
}

test("a thread is started by the first call, and ended when none came for a while", async () => {
  const { clock, state, echo } = start();
  assert.equal(state.started, 0);
  assert.deepEqual(await Promise.all([echo("a"), echo("b")]), ["a", "b"]);
  await clock.advance(900);
  await echo("c");
  await clock.advance(900);
  assert.deepEqual(state, { started: 1, ended: 0 });
  await clock.advance(200);
  assert.deepEqual(state, { started: 1, ended: 1 });
  assert.equal(await echo("d"), "d");
  assert.equal(state.started, 2);
});

test("a long call keeps it, whoever else came and went meanwhile", async () => {
  const { clock, thread, state, echo } = start();
  const long = Promise.withResolvers<void>();
  const working = thread.use(() => long.promise);
  await echo("short");
  await clock.advance(60_000);
  assert.equal(state.ended, 0);
  long.resolve();
  await working;
  await clock.advance(1_100);
  assert.equal(state.ended, 1);
});

test("what is needed between calls keeps it; one that died is started anew; a stopped one is not", async () => {
  let isNeeded = true;
  const { clock, thread, state, echo, die } = start(() => isNeeded);
  await echo("a");
  await clock.advance(60_000);
  assert.equal(state.ended, 0);
  isNeeded = false;
  thread.rest();
  await clock.advance(1_100);
  assert.equal(state.ended, 1);
  await echo("b");
  die();
  await clock.advance(0);
  assert.equal(thread.running, undefined);
  await echo("c");
  assert.equal(state.started, 3);
  await thread.stop();
  assert.equal(state.ended, 2);
  await assert.rejects(echo("d"), { code: "closed", message: "echoes ended here" });
});
