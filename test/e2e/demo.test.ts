/** `skerry demo` as `npm start` runs it: one summary line, an orderly end, adoption after a crash, a clean removal. */
import { strict as assert } from "node:assert";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { CellStatus } from "../../src/api/index.ts";
import {
  makeTempDir,
  podIdentities,
  processesOf,
  skerry,
  skerryJson,
  startSkerry,
  takeDown,
  type HubInfo,
  type NodeInfo,
  type RunningCommand,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const names = ["n1", "n2", "n3"];
let parent: string;
let dir: string;

before(async () => {
  // The demo's addresses are fixed: one that somebody looks at on this machine goes first.
  await waitFor(portIsFree, {
    what: "127.0.0.10:9443 to be free (end the demo that runs on this machine)",
    timeoutMs: 120_000,
  });
  parent = makeTempDir("demo");
  dir = join(parent, "demo");
});

after(async () => {
  const folders = [...names.toReversed(), "hub"].map((name) => join(dir, name));
  assert.deepEqual(
    await takeDown(
      parent,
      folders.filter((folder) => existsSync(folder)),
    ),
    [],
  );
});

function portIsFree(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(9443, "127.0.0.10", () => server.close(() => resolve(true)));
  });
}

const readJson = <T>(...path: string[]) =>
  JSON.parse(readFileSync(join(dir, ...path), "utf8")) as T;

const pids = () => ({
  hub: readJson<HubInfo>("hub", "hub.info.json").pid,
  agents: names.map((name) => readJson<NodeInfo>(name, "agent.json").agentPid),
});

const pods = async () =>
  podIdentities(await skerryJson<CellStatus>(["status", "--data", join(dir, "n1")]), "hello-");

async function startDemo(): Promise<RunningCommand> {
  const demo = startSkerry(["demo", "--dir", dir], { timeoutMs: 300_000 });
  let ended = false;
  void demo.done.then(() => (ended = true));
  await waitFor(() => ended || demo.stderr().includes("ready after"), {
    what: "the demo to be ready",
    timeoutMs: 180_000,
  });
  assert.ok(!ended, demo.stderr());
  return demo;
}

test("demo --for runs, prints one summary line with ok, and leaves nothing running", async () => {
  const { code, stdout, stderr } = await skerry(["demo", "--dir", dir, "--for", "5s", "--json"], {
    timeoutMs: 300_000,
  });
  assert.equal(code, 0, `${stderr}${stdout}`);
  const lines = stdout.trim().split("\n");
  assert.equal(lines.length, 1, stdout);
  const summary = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.equal(summary["ok"], true, stdout);
  assert.equal(summary["servers"], 3, "etcd is installed where tests run");
  assert.equal(summary["nodesAlive"], 3);
  assert.equal(summary["podsReady"], 3);
  assert.ok(Number(summary["entriesAtHub"]) > 0, stdout);
  assert.deepEqual(processesOf(parent), []);
});

test("Ctrl-C drains and ends it with success; what was stored stays", async () => {
  const demo = await startDemo();
  demo.kill("SIGINT");
  const { code, stderr } = await demo.done;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /draining and stopping hub, nodes and pods/);
  assert.deepEqual(processesOf(parent), []);
  assert.ok(existsSync(join(dir, "n1", "ledger", "ledger.json")), "three servers: etcd");
});

test("a demo that was killed is adopted by the next one: same hub, same agents, same pods", async () => {
  const first = await startDemo();
  const before = pids();
  const podsBefore = await pods();
  assert.equal(podsBefore.size, 3);
  first.kill("SIGKILL");
  await first.done;
  const second = await startDemo();
  assert.deepEqual(pids(), before);
  assert.deepEqual(await pods(), podsBefore);
  second.kill("SIGKILL");
  await second.done;
});

test("demo --clean stops what the killed demo left and removes its folder", async () => {
  assert.ok(processesOf(parent).length > 0, "the killed demo left its parts running");
  const cleaned = await skerryJson<{ dir: string; stopped: number }>([
    "demo",
    "--clean",
    "--dir",
    dir,
  ]);
  assert.deepEqual(cleaned, { dir, stopped: 4 });
  assert.ok(!existsSync(dir));
  await waitFor(() => processesOf(parent).length === 0, { what: "all processes to end" });
  const again = await skerry(["demo", "--clean", "--dir", dir]);
  assert.equal(again.stdout, `removed ${dir}\n`);
});
