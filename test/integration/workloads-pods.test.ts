import { strict as assert } from "node:assert";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Pod } from "../../src/api/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createProcessDriver, type PodRunner } from "../../src/workloads/index.ts";
import { createKeeperFolder, isRunning } from "../support/keeper.ts";
import { waitFor } from "../support/wait.ts";
import {
  createFakeCell,
  createTestRunner,
  pod,
  readAll,
  type FakeCell,
} from "../support/workloads.ts";

async function createNode(options: { cgroups?: boolean } = {}) {
  const folder = createKeeperFolder();
  const cell = createFakeCell();
  const keeper = await folder.open({ flags: options });
  const runners: PodRunner[] = [];
  return {
    folder,
    cell,
    keeper,
    /** As an agent's start does it. */
    async runner(): Promise<PodRunner> {
      const driver = createProcessDriver({ clock: systemClock, host: keeper.processes });
      const runner = createTestRunner(cell, driver, { marker: folder.dataDir });
      runners.push(runner);
      await runner.start();
      return runner;
    },
    async pids(): Promise<number[]> {
      return (await keeper.processes.list()).flatMap(({ current }) =>
        current.state === "running" ? [current.pid] : [],
      );
    },
    async [Symbol.asyncDispose]() {
      for (const runner of runners) await runner.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const main = (cell: FakeCell, object: Pod) => cell.status(object)?.containerStatuses?.[0];
const condition = (cell: FakeCell, object: Pod, type: string) =>
  cell.status(object)?.conditions?.find((entry) => entry.type === type);
const isReady = (cell: FakeCell, object: Pod) =>
  condition(cell, object, "Ready")?.status === "True";

test("W1: a pod runs, is reported ready, and a deletion stops it and is confirmed", async () => {
  await using node = await createNode();
  const { cell } = node;
  const web = pod("web", { script: "echo up as $POD_NAME on $NODE_NAME; exec sleep 1000" });
  cell.put(web);
  const runner = await node.runner();
  await waitFor(() => isReady(cell, web), { what: "the pod to be ready" });
  const status = cell.status(web);
  assert.equal(status?.phase, "Running");
  assert.deepEqual([status?.podIP, status?.hostIP], ["127.0.0.1", "127.0.0.1"]);
  assert.equal(main(cell, web)?.restartCount, 0);
  assert.equal(condition(cell, web, "skerry.dev/NetworkIsolated")?.status, "False");
  const said = () => readAll(runner.openLogs(web.metadata.uid ?? "", "main"));
  await waitFor(async () => (await said()) === "up as web on n1\n", { what: "the log" });
  const [pid = 0] = await node.pids();
  cell.terminate(web);
  await waitFor(() => !cell.has(web), { what: "the deletion to be confirmed" });
  assert.ok(!isRunning(pid));
  assert.deepEqual(await node.keeper.processes.list(), []);
  assert.deepEqual(cell.released, [web.metadata.uid]);
});

test("W2: a new agent adopts: same pid, same restart count, still ready, no report that says otherwise", async () => {
  await using node = await createNode();
  const { cell } = node;
  const web = pod("web", {
    script: "exec sleep 1000",
    readinessProbe: { exec: { command: ["/bin/true"] }, periodSeconds: 1, timeoutSeconds: 30 },
  });
  cell.put(web);
  const first = await node.runner();
  await waitFor(() => isReady(cell, web), { what: "the pod to be ready" });
  const before = await node.pids();
  await first.stop();
  assert.deepEqual(cell.adopted, []);
  const seen: boolean[] = [];
  const report = cell.ports.statuses.report;
  cell.ports.statuses.report = async (object, status) => {
    seen.push(status.conditions?.find(({ type }) => type === "Ready")?.status === "True");
    return report(object, status);
  };
  const second = await node.runner();
  await waitFor(() => second.pods()[0]?.status !== undefined, { what: "the second runner" });
  assert.deepEqual(await node.pids(), before);
  assert.equal(main(cell, web)?.restartCount, 0);
  assert.ok(!seen.includes(false));
  assert.deepEqual(cell.adopted, [web.metadata.uid]);
});

test("W3: pods that went while no agent lived are stopped, after the pods were heard and not before", async () => {
  await using node = await createNode();
  const { cell } = node;
  const web = pod("web", { script: "exec sleep 1000" });
  cell.put(web);
  const first = await node.runner();
  await waitFor(() => isReady(cell, web), { what: "the pod to be ready" });
  await first.stop();
  cell.forget(web);
  assert.equal((await node.pids()).length, 1);
  await node.runner();
  await waitFor(async () => (await node.keeper.processes.list()).length === 0, {
    what: "the orphan to be gone",
  });
});

test("W3: a watch that breaks before all pods were named stops nothing and is opened again", async () => {
  await using node = await createNode();
  const { cell } = node;
  const [one, two] = [
    pod("one", { script: "exec sleep 1000" }),
    pod("two", { script: "exec sleep 1000" }),
  ];
  for (const object of [one, two]) cell.put(object);
  const first = await node.runner();
  await waitFor(() => isReady(cell, one) && isReady(cell, two), { what: "both" });
  const before = await node.pids();
  await first.stop();
  const { watch } = cell.ports.pods;
  let broken = 0;
  cell.ports.pods.watch = async function* (options) {
    if (broken++ < 2) {
      yield { type: "ADDED", object: one };
      throw new Error("torn");
    }
    yield* watch(options);
  };
  const second = await node.runner();
  await waitFor(() => second.pods().length === 2, { what: "the third watch" });
  assert.deepEqual(await node.pids(), before);
});

test("W4: it runs from the mirror with no server reachable, and reports when one is", async () => {
  await using node = await createNode();
  const { cell } = node;
  cell.reach(false);
  const web = pod("web", { script: "exec sleep 1000" });
  cell.put(web);
  const runner = await node.runner();
  await waitFor(async () => (await node.pids()).length === 1, { what: "the pod to run" });
  await waitFor(() => runner.pods()[0]?.status?.phase === "Running", { what: "its status here" });
  assert.equal(cell.status(web), undefined);
  cell.reach(true);
  await waitFor(() => isReady(cell, web), { what: "the report" });
});

test("W5: a crashing container is restarted at once, then backs off; its previous log is kept", async () => {
  await using node = await createNode();
  const { cell } = node;
  const bad = pod("bad", { script: "echo attempt; exit 9" });
  cell.put(bad);
  const runner = await node.runner();
  await waitFor(() => main(cell, bad)?.state?.waiting?.reason === "CrashLoopBackOff", {
    what: "the backoff",
  });
  const status = main(cell, bad);
  assert.equal(status?.restartCount, 1, "the first restart is at once, the second waits 10 s");
  assert.equal(status?.lastState?.terminated?.exitCode, 9);
  assert.equal(cell.status(bad)?.phase, "Running");
  assert.match(status?.state?.waiting?.message ?? "", /back-off 10s restarting/);
  const uid = bad.metadata.uid ?? "";
  assert.equal(await readAll(runner.openLogs(uid, "main", { previous: true })), "attempt\n");
});

test("W6: restartPolicy decides: Never ends Failed or Succeeded, OnFailure restarts failures only", async () => {
  await using node = await createNode();
  const { cell } = node;
  const spec = (restartPolicy: "Never" | "OnFailure") => ({ spec: { restartPolicy } });
  const failing = pod("failing", { script: "exit 4" }, spec("Never"));
  const done = pod("done", { script: "exit 0" }, spec("Never"));
  const flag = join(node.folder.dataDir, "tried");
  const second = pod(
    "second",
    { script: `[ -e ${flag} ] || { >${flag}; exit 1; }` },
    spec("OnFailure"),
  );
  for (const object of [failing, done, second]) cell.put(object);
  await node.runner();
  await waitFor(() => cell.status(failing)?.phase === "Failed", { what: "Failed" });
  assert.equal(main(cell, failing)?.state?.terminated?.exitCode, 4);
  await waitFor(() => cell.status(done)?.phase === "Succeeded", { what: "Succeeded" });
  assert.equal(main(cell, done)?.state?.terminated?.reason, "Completed");
  await waitFor(() => cell.status(second)?.phase === "Succeeded", { what: "the second try" });
  assert.equal(main(cell, second)?.restartCount, 1);
});

test("W7: probes flip readiness; a failed liveness probe restarts", async () => {
  await using node = await createNode();
  const { cell } = node;
  let healthy = false;
  const server = createServer((_request, response) => {
    response.statusCode = healthy ? 200 : 503;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    // One that is late on a slow machine is no failure.
    const probe = { periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 30 };
    const alive = join(node.folder.dataDir, "alive");
    writeFileSync(alive, "");
    const web = pod("web", {
      script: "exec sleep 1000",
      ports: [{ name: "http", containerPort: port }],
      readinessProbe: { ...probe, httpGet: { port: "http" } },
    });
    const tcp = pod("tcp", {
      script: "exec sleep 1000",
      readinessProbe: { ...probe, tcpSocket: { port } },
    });
    const exec = pod("exec", {
      script: "exec sleep 1000",
      livenessProbe: { ...probe, exec: { command: ["/usr/bin/test", "-e", alive] } },
    });
    for (const object of [web, tcp, exec]) cell.put(object);
    await node.runner();
    await waitFor(() => isReady(cell, tcp) && isReady(cell, exec), { what: "tcp and exec" });
    assert.ok(!isReady(cell, web));
    healthy = true;
    await waitFor(() => isReady(cell, web), { what: "readiness" });
    healthy = false;
    await waitFor(() => !isReady(cell, web), { what: "readiness to go" });
    assert.equal(main(cell, web)?.restartCount, 0);
    rmSync(alive);
    await waitFor(() => main(cell, exec)?.restartCount === 1, { what: "a restart for liveness" });
    assert.equal(main(cell, exec)?.lastState?.terminated?.exitCode, 143);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test("W8: what cannot start waits with a clear word and does not spin; a config map that comes helps", async () => {
  await using node = await createNode();
  const { cell } = node;
  const bare = pod("bare", {});
  const image = pod("image", { script: "true", image: "nginx" });
  const odd = pod("odd", { script: "true" }, { spec: { runtimeClassName: "gvisor" } });
  const absent = pod("absent", { command: ["/no/such/program"] });
  const mounted = pod("mounted", {
    script: "true",
    volumeMounts: [{ name: "v", mountPath: "/v" }],
  });
  const configured = pod("configured", {
    command: ["/bin/sh", "-c", 'echo "$@"; exec sleep 1000', "sh"],
    args: ["$(GREETING)", "$(NOPE)", "$$(X)"],
    env: [{ name: "GREETING", valueFrom: { configMapKeyRef: { name: "words", key: "hello" } } }],
  });
  for (const object of [bare, image, odd, absent, mounted, configured]) cell.put(object);
  const runner = await node.runner();
  const waiting = (object: Pod) => main(cell, object)?.state?.waiting;
  await waitFor(
    () =>
      [bare, image, odd, absent, mounted, configured].every(
        (object) => waiting(object)?.message !== undefined,
      ),
    { what: "all to wait" },
  );
  assert.match(waiting(bare)?.message ?? "", /command is required/);
  assert.equal(waiting(image)?.reason, "InvalidImageName");
  assert.match(waiting(odd)?.message ?? "", /runtimeClassName "gvisor".*it has "process"/);
  assert.match(waiting(absent)?.message ?? "", /\/no\/such\/program is not an executable/);
  assert.match(waiting(mounted)?.message ?? "", /volumeMount "v"/);
  assert.match(waiting(configured)?.message ?? "", /configmap "words" not found/);
  assert.equal(cell.status(bare)?.phase, "Pending");
  const reports = cell.reports;
  cell.configMaps.set("words", { hello: "ahoy" });
  await waitFor(() => isReady(cell, configured), { what: "the config map to help" });
  assert.ok(cell.reports - reports < 20, "refused starts are not reported over and over");
  const said = () => readAll(runner.openLogs(configured.metadata.uid ?? "", "main"));
  await waitFor(async () => (await said()) === "ahoy $(NOPE) $(X)\n", { what: "its log" });
});

test("W9: init containers run one after the other before the others", async () => {
  await using node = await createNode();
  const { cell } = node;
  const order = join(node.folder.dataDir, "order");
  const step = (name: string) => ({
    name,
    image: "host",
    command: ["/bin/sh", "-c", `echo ${name} >>${order}`],
  });
  const object = pod(
    "ordered",
    { script: `cat ${order}; exec sleep 1000` },
    {
      spec: { initContainers: [step("one"), step("two")] },
    },
  );
  cell.put(object);
  const runner = await node.runner();
  await waitFor(() => isReady(cell, object), { what: "the pod" });
  await waitFor(
    async () =>
      (await readAll(runner.openLogs(object.metadata.uid ?? "", "main"))) === "one\ntwo\n",
    { what: "both to have run" },
  );
  const inits = cell.status(object)?.initContainerStatuses ?? [];
  assert.deepEqual(
    inits.map(({ ready }) => ready),
    [true, true],
  );
});

test("W10: logs follow until the container ends, and can be cut by lines, time and bytes", async () => {
  await using node = await createNode();
  const { cell } = node;
  const gate = join(node.folder.dataDir, "gate");
  const object = pod(
    "talker",
    {
      script: `for i in 1 2 3 4 5; do echo line $i; done; while [ ! -e ${gate} ]; do sleep 0.02; done; echo bye`,
    },
    { spec: { restartPolicy: "Never" } },
  );
  cell.put(object);
  const runner = await node.runner();
  const uid = object.metadata.uid ?? "";
  const read = (options: Parameters<PodRunner["openLogs"]>[2]) =>
    readAll(runner.openLogs(uid, "main", options));
  await waitFor(async () => (await read({})).includes("line 5"), { what: "five lines" });
  assert.equal(await read({ tailLines: 2 }), "line 4\nline 5\n");
  assert.equal(await read({ tailLines: 0 }), "");
  assert.equal(await read({ tailLines: 99 }), "line 1\nline 2\nline 3\nline 4\nline 5\n");
  assert.equal(await read({ limitBytes: 6 }), "line 1");
  assert.equal(await read({ sinceMs: Date.now() + 60_000 }), "");
  assert.match(await read({ tailLines: 1, timestamps: true }), /^\d{4}-\S+Z line 5\n$/);
  const followed = read({ follow: true, tailLines: 1 });
  writeFileSync(gate, "");
  assert.equal(await followed, "line 5\nbye\n");
  const controller = new AbortController();
  controller.abort();
  assert.equal(await read({ follow: true, signal: controller.signal }), "");
  await assert.rejects(read({ previous: true }), { code: "log-unavailable" });
  await assert.rejects(readAll(runner.openLogs(uid, "nobody")), { code: "container-unknown" });
  await assert.rejects(readAll(runner.openLogs("no-uid", "main")), { code: "container-unknown" });
});

test("W11: limits that cannot be enforced are said, and refused where they are required", async () => {
  await using node = await createNode({ cgroups: false });
  const { cell } = node;
  const resources = { limits: { memory: "64Mi", cpu: "200m" } };
  const loose = pod("loose", { script: "exec sleep 1000", resources });
  const strict = pod(
    "strict",
    { script: "exec sleep 1000", resources },
    {
      metadata: { annotations: { "skerry.dev/limits": "required" } },
    },
  );
  cell.put(loose);
  cell.put(strict);
  await node.runner();
  await waitFor(() => isReady(cell, loose), { what: "the loose pod" });
  assert.equal(condition(cell, loose, "skerry.dev/LimitsEnforced")?.status, "False");
  await waitFor(() => main(cell, strict)?.state?.waiting?.message?.includes("cannot be enforced"), {
    what: "the refusal",
  });
});

test("W12: a keeper that dies under running pods costs no pod and no restart", async () => {
  await using node = await createNode();
  const { cell } = node;
  const web = pod("web", { script: "exec sleep 1000" });
  cell.put(web);
  await node.runner();
  await waitFor(() => isReady(cell, web), { what: "the pod to be ready" });
  const before = await node.pids();
  await node.folder.kill();
  const late = pod("late", { script: "exec sleep 1000" });
  cell.put(late);
  await waitFor(() => isReady(cell, late), { what: "a pod started by the next keeper" });
  assert.ok((await node.pids()).includes(before[0] ?? 0));
  assert.equal(main(cell, web)?.restartCount, 0);
});
