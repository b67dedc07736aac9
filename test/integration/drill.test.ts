/** The drills' own tools: a checker that cannot find a planted fault proves nothing. */
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { keyLine } from "../../src/drill/load/entries.ts";
import type { EntryCheckConfig, EntryCheckResult } from "../../src/drill/checkers/entries.ts";
import type { NumberCheckConfig, NumberCheckResult } from "../../src/drill/checkers/numbers.ts";
import type { RequestLoadConfig, RequestLoadResult } from "../../src/drill/load/requests.ts";
import { startLinkProxy } from "../../src/drill/faults/link-proxy.ts";
import { createProbe } from "../../src/drill/scripts/long-offline-probe.ts";
import { notMeasured } from "../../src/drill/scripts/verdict.ts";
import { startWorker } from "../../src/drill/site/worker.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { waitFor } from "../support/wait.ts";

const drillUrl = new URL("../../src/drill/", import.meta.url);
let dir: string;
let server: Server;
let url: string;
/** What the fake store answers with. */
let stored: unknown[] = [];
let requestsSeen = 0;
let onRead = () => {};
let failEvery = 0;
let podAnswering: string | undefined;
const methodsSeen = new Set<string>();
/** Method, path and the pod that was named. */
const answered = new Set<string>();

before(async () => {
  dir = mkdtempSync(join(tmpdir(), "skerry-drill-test-"));
  server = createServer((request, response) => {
    if (request.url?.startsWith("/v1/streams/")) {
      response.once("close", () => onRead());
      response.end(stored.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
      return;
    }
    if (request.url?.startsWith("/refuses/")) return void response.writeHead(503).end();
    requestsSeen++;
    methodsSeen.add(request.method ?? "");
    answered.add(`${request.method} ${request.url} ${podAnswering}`);
    response
      .writeHead(failEvery > 0 && requestsSeen % failEvery === 0 ? 503 : 200)
      .end(podAnswering === undefined ? "ok" : JSON.stringify({ pod: podAnswering }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
  rmSync(dir, { recursive: true, force: true });
});

const entry = (sequence: number) => ({ producer: "p", epoch: 1, sequence });

async function check(
  name: string,
  { at = url, ...more }: Partial<EntryCheckConfig> & { at?: string } = {},
): Promise<EntryCheckResult["views"][number]> {
  const acknowledgedPath = join(dir, `${name}.tsv`);
  writeFileSync(
    acknowledgedPath,
    Array.from({ length: 100 }, (_, i) => `${keyLine("p", 1, i + 1)}\n`).join(""),
  );
  const config: EntryCheckConfig = {
    acknowledgedPath,
    stream: "s",
    timeoutMs: 0,
    ...more,
    views: [{ name: "fake", url: at }],
  };
  const entryFile = new URL("checkers/entries.entry.ts", drillUrl);
  const result = await startWorker<EntryCheckConfig, EntryCheckResult>(entryFile, {
    dir,
    name,
    config,
    untilFinished: false,
  }).finish();
  const view = result.views[0];
  assert.ok(view);
  assert.equal(result.acknowledged, 100);
  return view;
}

test("the entry checker finds nothing where nothing is wrong", async () => {
  stored = Array.from({ length: 120 }, (_, i) => entry(i + 1));
  const view = await check("clean");
  assert.deepEqual([view.lost, view.duplicated, view.found], [0, 0, 120]);
});

test("the entry checker finds a planted loss", async () => {
  stored = Array.from({ length: 100 }, (_, i) => entry(i + 1)).filter(
    ({ sequence }) => sequence !== 42,
  );
  const view = await check("loss");
  assert.deepEqual([view.lost, view.duplicated], [1, 0]);
  assert.deepEqual(view.examples, ["lost p 1 42"]);
});

test("the entry checker finds a planted duplicate", async () => {
  stored = [...Array.from({ length: 100 }, (_, i) => entry(i + 1)), entry(7)];
  const view = await check("duplicate");
  assert.deepEqual([view.lost, view.duplicated], [0, 1]);
});

test("the entry checker finds a copy that comes after everything was there", async (t) => {
  stored = Array.from({ length: 100 }, (_, i) => entry(i + 1));
  onRead = () => void (stored = [...stored, entry(9)]);
  t.after(() => (onRead = () => {}));
  const view = await check("late", { settleMs: 1 });
  assert.deepEqual([view.lost, view.duplicated], [0, 1]);
});

test("the entry checker finds what was there and went", async (t) => {
  stored = Array.from({ length: 100 }, (_, i) => entry(i + 1));
  onRead = () => void (stored = stored.slice(1));
  t.after(() => (onRead = () => {}));
  const view = await check("went", { settleMs: 1 });
  assert.deepEqual([view.lost, view.completeAfterMs], [1, undefined]);
});

test("the entry checker takes an unreadable view for lost, not for clean", async () => {
  const nobody = createTcpServer();
  // An address of its own: nobody else is given its port meanwhile.
  await new Promise<void>((resolve) => nobody.listen(0, "127.0.49.65", resolve));
  const address = nobody.address();
  assert.ok(typeof address === "object" && address);
  await new Promise((resolve) => nobody.close(resolve));
  const view = await check("unreadable", { at: `http://127.0.49.65:${address.port}` });
  assert.equal(view.lost, 100);
  assert.match(view.failure ?? "", /ECONNREFUSED/);
});

test("the checker of numbers reads them from a view, and says why it could not", async () => {
  const entryFile = new URL("checkers/numbers.entry.ts", drillUrl);
  const look = (name: string, at: string) =>
    startWorker<NumberCheckConfig, NumberCheckResult>(entryFile, {
      ...{ dir, name, untilFinished: false },
      config: {
        ...{ view: { name: "fake", url: at }, stream: "s" },
        written: [{ given: [0, 100], unknown: [] }],
      },
    }).finish();
  stored = [...Array(100).keys()].map((n) => ({ body: { n: n === 40 ? 41 : n } }));
  assert.deepEqual(await look("numbers", url), {
    ...{ found: 99, lost: 1, duplicated: 1, strange: 0 },
    examples: ["lost 40", "duplicated 41"],
  });
  const unread = await look("unread", `${url}/nothing`);
  assert.ok("failure" in unread, JSON.stringify(unread));
});

test("long-offline: a probe that is refused, or not answered, is a finding and no end of the drill", async () => {
  const nodes = [url, `${url}/refuses`, "http://127.0.49.66:1"].map((gateway) => ({
    ...{ gateway, token: "t" },
  }));
  stored = [];
  const probe = createProbe(
    { clock: systemClock, signal: new AbortController().signal },
    { nodes, stream: "s" },
  );
  const probing = probe.start();
  const isTold = () => probe.written().given[1] - probe.written().given[0] >= 6;
  await waitFor(isTold, { what: "six probes" });
  const { sent, failures, p99Ms } = await probing.stop();
  assert.ok(failures.length >= 4 && failures.length < sent, JSON.stringify({ sent, failures }));
  assert.ok(failures.some((failure) => failure.startsWith("503 ")));
  assert.ok(failures.some((failure) => failure.includes("ECONNREFUSED")));
  assert.equal(p99Ms, notMeasured);
  const { given, unknown } = probe.written();
  assert.deepEqual([given[1] - given[0], unknown.length], [sent, failures.length]);
});

test("the request load is an open loop and counts what failed", async () => {
  failEvery = 10;
  requestsSeen = 0;
  const config: RequestLoadConfig = {
    targets: [{ name: "fake", url }],
    perSecond: 200,
    // A machine that stands still for a second fails none of them.
    deadlineMs: 60_000,
    inFlightMax: 10_000,
  };
  const load = startWorker<RequestLoadConfig, RequestLoadResult>(
    new URL("load/requests.entry.ts", drillUrl),
    {
      dir,
      name: "requests",
      config,
      untilFinished: true,
    },
  );
  await waitFor(() => requestsSeen >= 100, { what: "a hundred requests" });
  const { samples } = await load.finish();
  assert.ok(samples.length >= 100);
  const failed = samples.filter(({ failure }) => failure !== undefined).length;
  assert.equal(failed, Math.floor(samples.length / 10));
});

test("the request load tells which pod answered, by every method and through every target", async (t) => {
  failEvery = 0;
  requestsSeen = 0;
  podAnswering = "echo-1";
  t.after(() => (podAnswering = undefined));
  const targets = ["a", "b", "c"].map((name) => ({ name, url: `${url}/${name}` }));
  const methods = ["GET", "PUT"] as const;
  const isAnsweredBy = (pod: string) =>
    targets.every(({ name }) =>
      methods.every((method) => answered.has(`${method} /${name} ${pod}`)),
    );
  const load = startWorker<RequestLoadConfig, RequestLoadResult>(
    new URL("load/requests.entry.ts", drillUrl),
    {
      dir,
      name: "pods",
      config: {
        targets,
        methods,
        perSecond: 100,
        deadlineMs: 60_000,
        inFlightMax: 10_000,
      },
      untilFinished: true,
    },
  );
  await waitFor(() => isAnsweredBy("echo-1"), { what: "each method through each target" });
  podAnswering = "echo-2";
  await waitFor(() => isAnsweredBy("echo-2"), { what: "answers of the next pod" });
  const { samples } = await load.finish();
  assert.deepEqual(
    samples.filter(({ failure }) => failure !== undefined),
    [],
  );
  assert.ok(methodsSeen.has("GET") && methodsSeen.has("PUT"));
  for (const { name } of targets) {
    const seen = new Set(samples.flatMap(({ target, by }) => (target === name ? [by] : [])));
    assert.deepEqual([...seen].sort(), ["echo-1", "echo-2"]);
  }
});

test("a cut link is silent, not closed, and is reset by the heal", async () => {
  const echo = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  const target = echo.address();
  assert.ok(typeof target === "object" && target);
  const proxy = await startLinkProxy({
    host: "127.0.0.1",
    port: 0,
    target: { host: "127.0.0.1", port: target.port },
  });
  const socket = connect(proxy.port, "127.0.0.1");
  let received = "";
  let reset = false;
  socket.on("data", (chunk) => (received += chunk.toString()));
  socket.on("error", () => (reset = true));
  socket.write("a");
  await waitFor(() => received === "a", { what: "the echo" });
  proxy.cut();
  socket.write("b");
  const late = connect(proxy.port, "127.0.0.1");
  late.on("error", () => undefined);
  await waitFor(() => late.readyState === "open", { what: "a connection into the cut" });
  late.write("c");
  assert.equal(received, "a");
  assert.equal(socket.readyState, "open");
  proxy.heal();
  await waitFor(() => reset, { what: "the reset" });
  await proxy.close();
  echo.close();
});
