/** Threads, children and the order in which parts start and stop. */
import { strict as assert } from "node:assert";
import { test, type TestContext } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import type { SkerryError } from "../../src/lib/errors.ts";
import { silentLog, type LogFields } from "../../src/lib/log.ts";
import { entryUrl, exited, startEntry } from "../../src/runtime/child/index.ts";
import { createLifecycle } from "../../src/runtime/lifecycle/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import type { TestThreadEvents, TestThreadMethods } from "../support/runtime-thread.entry.ts";

const url = new URL("../support/runtime-thread.entry.ts", import.meta.url);

async function start(t: TestContext, data: { refuseToStart?: boolean } = {}) {
  const thread = await startThread<TestThreadMethods, TestThreadEvents>(url, {
    name: "test",
    data,
  });
  t.after(() => thread.terminate());
  return thread;
}

test("threads: arguments, bytes and answers cross; transferred bytes move", async (t) => {
  const thread = await start(t);
  const value = { list: [1, "two", null], bytes: new Uint8Array([1, 2, 3]) };
  assert.deepEqual(await thread.call("echo", value), value);
  const bytes = new Uint8Array(1000);
  await thread.call("echo", bytes, { transfer: [bytes.buffer] });
  assert.equal(bytes.byteLength, 0);
});

test("threads: errors keep code, hint, details and cause", async (t) => {
  const thread = await start(t);
  await assert.rejects(thread.call("fail", "skerry"), (error: SkerryError) => {
    assert.deepEqual(
      [error.code, error.hint, error.retryable, error.details],
      ["disk-full", "free some", true, { bytes: 7 }],
    );
    assert.equal((error.cause as Error).message, "inner");
    return true;
  });
  await assert.rejects(thread.call("fail", "plain"), { code: "internal", message: "plain" });
  await assert.rejects(thread.call("fail", "text"), { code: "internal", message: "just text" });
});

test("threads: what cannot be cloned is an error of that call only, both ways", async (t) => {
  const thread = await start(t);
  await assert.rejects(thread.call("unclonable", undefined), { code: "internal" });
  await assert.rejects(
    thread.call("echo", () => {}),
    /could not be cloned/,
  );
  assert.equal(await thread.call("echo", "fine"), "fine");
  await assert.rejects(
    (thread as { call(name: string, argument: unknown): Promise<unknown> }).call("absent", 1),
    /no thread method "absent"/,
  );
});

test("threads: events arrive in order until the listener leaves", async (t) => {
  const thread = await start(t);
  const seen: number[] = [];
  const off = thread.on("said", ({ n }) => seen.push(n));
  await thread.call("say", 3);
  off();
  await thread.call("say", 3);
  assert.deepEqual(seen, [0, 1, 2]);
});

test("threads: one that dies rejects all who wait, and who comes later", async (t) => {
  for (const die of ["exit", "crash"] as const) {
    const thread = await start(t);
    const waiting = [thread.call("hang", undefined), thread.call("hang", undefined)];
    const dying = die === "exit" ? thread.call("exit", 3) : thread.call("crash", undefined);
    dying.catch(() => {});
    for (const call of waiting)
      await assert.rejects(call, { code: "thread-ended", message: "the test thread ended" });
    const reason = await thread.ended;
    assert.equal(reason?.message, die === "crash" ? "unexpected" : undefined);
    await assert.rejects(thread.call("echo", 1), { code: "thread-ended" });
  }
});

test("threads: one that cannot start says why itself", async () => {
  const starting = startThread(url, { name: "test", data: { refuseToStart: true } });
  await assert.rejects(starting, {
    code: "store-damaged",
    message: "cannot start",
    hint: "move it away",
    retryable: true,
  });
  const absent = startThread(new URL("./absent.entry.ts", import.meta.url), { name: "absent" });
  await assert.rejects(absent, { code: "thread-ended" });
});

test("children: the entry's ending follows the file that asks", () => {
  assert.equal(
    entryUrl("file:///x/src/agent/a.ts", "./b.entry").href,
    "file:///x/src/agent/b.entry.ts",
  );
  assert.equal(
    entryUrl("file:///x/dist/agent/a.js", "../b.entry").href,
    "file:///x/dist/b.entry.js",
  );
});

test("children: how they ended is told, also when asked late", async () => {
  const child = startEntry(new URL("../support/absent.entry.ts", import.meta.url), {
    stdio: "ignore",
  });
  assert.deepEqual(await exited(child), { code: 1, signal: null });
  assert.deepEqual(await exited(child), { code: 1, signal: null });
});

function parts() {
  const clock = createSimulatedClock();
  const lines: string[] = [];
  const say = (message: string, fields?: LogFields) =>
    lines.push(`${message}: ${String(fields?.["part"])}`);
  const log = { ...silentLog, warn: say, error: say };
  const order: string[] = [];
  const lifecycle = createLifecycle({ clock, log }, { stopTimeoutMs: 100 });
  const add = (name: string) =>
    lifecycle.start(
      name,
      () => {
        order.push(`+${name}`);
        return name;
      },
      (part) => void order.push(`-${part}`),
    );
  return { clock, lines, order, lifecycle, add };
}

test("lifecycle: starts in order, stops in reverse, once", async () => {
  const { lifecycle, order, add } = parts();
  for (const name of ["a", "b", "c"]) assert.equal(await add(name), name);
  await Promise.all([lifecycle.stop(), lifecycle.stop()]);
  assert.deepEqual(order, ["+a", "+b", "+c", "-c", "-b", "-a"]);
  await assert.rejects(add("late"), { code: "closed" });
});

test("lifecycle: a part that fails to start stops those before it and says why", async () => {
  const { lifecycle, order, lines, add } = parts();
  await add("a");
  await add("b");
  const failing = lifecycle.start("c", () => {
    throw new Error("port in use");
  });
  await assert.rejects(failing, /port in use/);
  assert.deepEqual(order, ["+a", "+b", "-b", "-a"]);
  assert.deepEqual(lines, ["part failed to start: c"]);
});

test("lifecycle: a part that hangs or fails while stopping is named and passed over", async () => {
  const { lifecycle, order, lines, clock, add } = parts();
  await add("a");
  await lifecycle.start(
    "hangs",
    () => 1,
    () => new Promise<void>(() => {}),
  );
  await lifecycle.start(
    "fails",
    () => 1,
    () => Promise.reject(new Error("no")),
  );
  const stopping = lifecycle.stop();
  await clock.advance(100);
  await stopping;
  assert.deepEqual(order, ["+a", "-a"]);
  assert.deepEqual(lines, ["part failed to stop: fails", "part did not stop in time: hangs"]);
  assert.equal(clock.pending, 0);
});

test("lifecycle: a part that was starting when the stop came is stopped too", async () => {
  const { lifecycle, order, add } = parts();
  await add("a");
  const { promise, resolve } = Promise.withResolvers<void>();
  const starting = lifecycle.start(
    "slow",
    () => promise,
    () => void order.push("-slow"),
  );
  const stopping = lifecycle.stop();
  resolve();
  await assert.rejects(starting, { code: "closed" });
  await stopping;
  assert.deepEqual(order.toSorted(), ["+a", "-a", "-slow"]);
});
