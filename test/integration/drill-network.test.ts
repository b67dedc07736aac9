/** What the drills stand on: machines in namespaces, links that fall silent, processes found and ended. */
import { strict as assert } from "node:assert";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import {
  makeNamespaces,
  openNamespaces,
  removeNamespaces,
  removeStaleNamespaces,
} from "../../src/drill/site/namespaces.ts";
import {
  freezeAll,
  killAll,
  processesOfFolder,
  signalAll,
} from "../../src/drill/site/processes.ts";
import { identifyProcess } from "../../src/runtime/process/index.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import { startChild } from "../support/child.ts";
import { waitFor } from "../support/wait.ts";

const launcher = fileURLToPath(new URL("../../bin/skerry.mjs", import.meta.url));
const namespacesUrl = new URL("../../src/drill/site/namespaces.ts", import.meta.url);
const clockUrl = new URL("../../src/runtime/clock/index.ts", import.meta.url);
const waitUrl = new URL("../support/wait.ts", import.meta.url);

/** A shared machine may be slow to start a process. */
const timeoutMs = 30_000;

/** The site's name; where none can be made, that this is said with the line that mends it. */
async function siteOrReason(t: TestContext, machines: readonly string[]) {
  const made = await makeNamespaces(machines, { clock });
  if (made.state === "made") {
    t.after(() => removeNamespaces(made.site, { clock }));
    return made.site;
  }
  assert.equal(made.reason.code, "tool-missing");
  assert.match(made.reason.hint ?? "", /root.*apt-get install iproute2/);
  assert.notEqual(process.getuid?.(), 0, "root makes namespaces");
  return undefined;
}

const echoProgram = `
const server = require("node:net").createServer((socket) => socket.on("error", () => {}).pipe(socket));
server.listen(7000, process.argv[1], () => console.log("listening"));`;
const talkProgram = `
const socket = require("node:net").connect(7000, process.argv[1]);
process.stdin.pipe(socket).pipe(process.stdout);
socket.on("error", (error) => { console.log("ERROR " + error.code); });`;

test("a cut link is silent in both directions, resets nothing, and goes on after the heal", async (t) => {
  const site = await siteOrReason(t, ["observer", "n1"]);
  if (site === undefined) return;
  const network = openNamespaces(site);
  const host = network.hostOf("n1");
  const echo = startChild(network.on("n1", [process.execPath, "-e", echoProgram, host]), t);
  await waitFor(() => echo.text() !== "", { timeoutMs, what: "the echo to listen" });
  const talk = startChild(network.on("observer", [process.execPath, "-e", talkProgram, host]), t);
  talk.stdin?.write("a");
  await waitFor(() => talk.text() === "a", { timeoutMs, what: "the first echo" });
  await network.links?.cut("n1");
  talk.stdin?.write("b");
  const late = startChild(network.on("observer", [process.execPath, "-e", talkProgram, host]), t);
  late.stdin?.write("c");
  // A machine still reaches itself.
  const own = startChild(network.on("n1", [process.execPath, "-e", talkProgram, host]), t);
  own.stdin?.write("d");
  await waitFor(() => own.text() === "d", { timeoutMs, what: "the echo on the machine itself" });
  assert.deepEqual([talk.text(), late.text()], ["a", ""]);
  await network.links?.heal("n1");
  await waitFor(() => talk.text() === "ab", { timeoutMs, what: "the echo after the heal" });
});

test("a machine's processes are those of its namespace, whatever they did to their parents", async (t) => {
  const site = await siteOrReason(t, ["observer", "n1"]);
  if (site === undefined) return;
  const network = openNamespaces(site);
  const argv = ["sh", "-c", "setsid sleep 600 & setsid sleep 600 & exit 0"];
  const parent = startChild(network.on("n1", argv), t);
  const look = () => network.pidsOn?.("n1") ?? [];
  await waitFor(() => parent.exitCode === 0 && look().length === 2, {
    timeoutMs,
    what: "two orphans",
  });
  await freezeAll(look, clock);
  await killAll(look, clock);
  assert.deepEqual(look(), []);
  assert.ok(!look().includes(process.pid));
});

test("what a killed drill left is removed with the processes in it, what a living one has stays", async (t) => {
  const own = await siteOrReason(t, ["observer"]);
  if (own === undefined) return;
  const script = `
    const { makeNamespaces, openNamespaces } = await import(${JSON.stringify(namespacesUrl.href)});
    const { systemClock: clock } = await import(${JSON.stringify(clockUrl.href)});
    const { spawn } = await import("node:child_process");
    const { site } = await makeNamespaces(["observer"], { clock });
    const network = openNamespaces(site);
    const [file, ...args] = network.on("observer", ["sleep", "600"]);
    const { pid } = spawn(file, args, { detached: true, stdio: "ignore" });
    const { waitFor } = await import(${JSON.stringify(waitUrl.href)});
    const isInside = () => network.pidsOn("observer").includes(pid);
    await waitFor(isInside, { timeoutMs: ${timeoutMs}, what: "its process to be in the namespace" });
    console.log(JSON.stringify({ site, pid }));
    process.exit(0);`;
  const text = execFileSync(process.execPath, ["--input-type=module", "-e", script]).toString();
  const { site, pid } = JSON.parse(text) as { site: string; pid: number };
  const names = () => readdirSync("/run/netns");
  assert.ok(names().some((name) => name.startsWith(site)));
  await removeStaleNamespaces({ clock });
  assert.deepEqual(
    names().filter((name) => name.startsWith(`${site}.`)),
    [],
  );
  await waitFor(() => identifyProcess(pid) === undefined, {
    timeoutMs,
    what: "its process to be gone",
  });
  assert.ok(names().includes(`${own}.observer`));
});

test("without namespaces the processes come from the data folder, by pid and start time", async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), "skerry-drill-folder-"));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const parent = startChild(["sh", "-c", "setsid sleep 600 & echo $!; wait"], t);
  await waitFor(() => parent.text().endsWith("\n"), { timeoutMs, what: "the child's pid" });
  const child = Number(parent.text());
  const identity = identifyProcess(parent.pid ?? 0);
  assert.ok(identity);
  const write = (startTicks: number) =>
    writeFileSync(
      join(dataDir, "agent.json"),
      JSON.stringify({ process: { ...identity, startTicks } }),
    );
  // Somebody else has that pid now.
  write(identity.startTicks - 1);
  assert.deepEqual(processesOfFolder(dataDir), []);
  write(identity.startTicks);
  assert.deepEqual([...processesOfFolder(dataDir)].sort(), [identity.pid, child].sort());
  // The parent could be gone before its child is looked for: both are named once.
  const both = processesOfFolder(dataDir);
  await killAll(() => both.filter((pid) => identifyProcess(pid) !== undefined), clock);
  signalAll(both, "SIGCONT");
  assert.deepEqual(processesOfFolder(dataDir), []);
});

test("the drill's own command names what it needs where there is no ip, and exits 2", () => {
  const empty = mkdtempSync(join(tmpdir(), "skerry-drill-path-"));
  const { status, stdout } = spawnSync(
    process.execPath,
    [launcher, "drill", "node-kill", "--json"],
    { env: { ...process.env, PATH: empty }, encoding: "utf8", timeout: 50_000 },
  );
  rmSync(empty, { recursive: true });
  assert.equal(status, 2, stdout);
  assert.match(stdout, /"code":"tool-missing"/);
  assert.match(stdout, /apt-get install iproute2/);
});
