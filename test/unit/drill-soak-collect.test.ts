/** The soak weighs a process by what is alive in all its threads, which come and go. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { collectGarbage, state } from "../../src/drill/scripts/soak-collect.ts";
import { weigh } from "../../src/drill/scripts/soak-sample.ts";
import { loopbackNetwork } from "../../src/drill/site/network.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { waitFor } from "../support/wait.ts";

const MB = 1e6;

/** In its main thread and another one: what is alive, and much garbage that lived long enough to be old. */
const litterer = `
  const { Worker, isMainThread, parentPort } = require("node:worker_threads");
  let kept = [];
  for (let i = 0; i < 400_000; i++) kept.push({ number: i, text: "x" + i });
  kept = kept.slice(0, 10);
  if (!isMainThread) parentPort.postMessage("littered");
  else new Worker(process.argv[1], { eval: true, argv: [] }).on("message", () => console.log("littered"));
  setInterval(() => kept.length, 1000);
`;

test("soak: a process is weighed without the garbage of any of its threads", async () => {
  const child = spawn(
    process.execPath,
    [
      "--inspect-port=127.0.0.1:0",
      "-e",
      `process.argv[1] = ${JSON.stringify(litterer)}; ${litterer}`,
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  try {
    await once(child.stdout, "data");
    const pid = child.pid ?? 0;
    const before = weigh(pid)?.anonymousBytes ?? 0;
    const around = {
      network: loopbackNetwork(51),
      clock: systemClock,
      signal: AbortSignal.timeout(60_000),
    };
    const alive = await collectGarbage("n1", pid, around);
    // V8 gives the pages back from threads beside those that collected.
    const weighed = () => weigh(pid)?.anonymousBytes ?? before;
    await waitFor(() => before - weighed() > 30 * MB, {
      what: `30 MB less than ${before} bytes`,
      timeoutMs: 30_000,
    });
    const after = weighed();
    assert.ok(alive, "it lives");
    const { dataBytes, codeBytes } = alive;
    assert.ok(dataBytes > 2 * MB, `${dataBytes} in the heaps of both threads`);
    assert.ok(codeBytes > 0.2 * MB, `${codeBytes} of code`);
    assert.ok(dataBytes + codeBytes < after, `${dataBytes} and ${codeBytes} of ${after}`);
    const again = await collectGarbage("n1", pid, around);
    assert.ok(
      Math.abs((again?.dataBytes ?? 0) - dataBytes) < MB,
      `${again?.dataBytes}: a second time the same`,
    );
    child.kill("SIGSTOP");
    const stopped = AbortSignal.timeout(20_000);
    while (state(pid) !== "stopped") stopped.throwIfAborted();
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal(state(pid), "ended");
    assert.equal(await collectGarbage("n1", 2 ** 22 + 1, around).catch(() => "no such"), "no such");
  } finally {
    child.kill("SIGKILL");
  }
});

/** A thread that comes and goes: it answers nobody while it sleeps, and then it has ended. */
const passer = `
  const { Worker } = require("node:worker_threads");
  const sleep = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400); process.exit()";
  const next = () => new Worker(sleep, { eval: true }).on("exit", next);
  next();
  console.log("started");
`;

test("soak: a thread that ends while it is asked keeps nobody waiting", async () => {
  const args = ["--inspect-port=127.0.0.1:0", "-e", passer];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    await once(child.stdout, "data");
    const around = {
      network: loopbackNetwork(51),
      clock: systemClock,
      signal: AbortSignal.timeout(60_000),
    };
    for (let turn = 0; turn < 3; turn++) {
      const alive = await collectGarbage("n1", child.pid ?? 0, around);
      assert.ok(alive && alive.dataBytes > MB, `${alive?.dataBytes}`);
    }
  } finally {
    child.kill("SIGKILL");
  }
});

/**
 * An inspector of two threads whose other one refuses what it is asked, as one that is just ending does
 * ("Cannot find context with specified id"), and ends then or not. Returns what the debugger's part makes of it.
 */
async function askRefusing({ ends, limitMs }: { ends: boolean; limitMs: number }) {
  const server = createServer((_request, response) => {
    const { port } = server.address() as { readonly port: number };
    response.end(JSON.stringify([{ webSocketDebuggerUrl: `ws://127.0.0.1:${port}/main` }]));
  });
  new WebSocketServer({ server }).on("connection", (socket) => {
    const say = (message: object) => socket.send(JSON.stringify(message));
    const tell = (method: string, message: object = {}) =>
      say({ method: `NodeWorker.${method}`, params: { sessionId: "1", ...message } });
    const answers: Record<string, object> = {
      "Runtime.evaluate": { result: { value: 1000 } },
      "Runtime.getHeapUsage": { usedSize: 5000 },
    };
    socket.on("message", (data: Buffer) => {
      const { id, method, params } = JSON.parse(data.toString());
      if (method === "NodeWorker.enable") tell("attachedToWorker");
      say({ id, result: answers[method] ?? {} });
      if (method !== "NodeWorker.sendMessageToWorker") return;
      const inner = JSON.parse(params.message);
      const error = { message: "Cannot find context with specified id" };
      tell("receivedMessageFromWorker", { message: JSON.stringify({ id: inner.id, error }) });
      if (ends) tell("detachedFromWorker");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  const entry = new URL("../../src/drill/scripts/soak-collect.entry.ts", import.meta.url);
  const child = spawn(process.execPath, [fileURLToPath(entry), String(port), String(limitMs)]);
  try {
    const [told, said, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "exit"),
    ]);
    return { told, said, code };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("soak: a thread that refuses as it ends is left out, one that refuses and lives is told of", async () => {
  const ended = await askRefusing({ ends: true, limitMs: 60_000 });
  assert.deepEqual(
    { ...ended, told: JSON.parse(ended.told || "null") },
    { told: { dataBytes: 4000, codeBytes: 1000 }, said: "", code: 0 },
  );
  // Waited for to its end, and long enough that it is asked even where the machine stands still for seconds.
  const lives = await askRefusing({ ends: false, limitMs: 6000 });
  assert.equal(lives.code, 1);
  assert.match(lives.said, /no answer in time: .*Cannot find context/);
});
