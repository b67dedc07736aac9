/** The nemesis' tools: wires that lose and delay one way, disks that are slow or full. Root only. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createSlowDisks } from "../../src/drill/faults/slow-disk.ts";
import { createWires } from "../../src/drill/faults/wires.ts";
import {
  makeNamespaces,
  openNamespaces,
  removeNamespaces,
  withOwnMounts,
} from "../../src/drill/site/namespaces.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import { startChild } from "../support/child.ts";
import { waitFor } from "../support/wait.ts";

/** A shared machine may be slow to start a process. */
const timeoutMs = 30_000;

function temporary(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "skerry-drill-faults-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Answers each datagram, and says which came. */
const echoProgram = `
const socket = require("node:dgram").createSocket("udp4");
socket.on("message", (message, from) => { console.log("heard " + message); socket.send(message, from.port, from.address); });
socket.bind(7000, process.argv[1], () => console.log("listening"));`;
/** Sends each line, and says how long its answer took. */
const askProgram = `
const socket = require("node:dgram").createSocket("udp4");
const sentMs = new Map();
socket.on("message", (message) => console.log(message + " took " + (performance.now() - sentMs.get(String(message)))));
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  sentMs.set(line, performance.now());
  socket.send(line, 7000, process.argv[1]);
});`;

test("wires: one direction is cut, lossy or slow while the other is not, and whole again after the heal", async (t) => {
  const made = await makeNamespaces(["observer", "n1", "n2"], { clock });
  assert.equal(made.state, "made", "this test needs root, as CI gives it");
  if (made.state !== "made") return;
  t.after(() => removeNamespaces(made.site, { clock }));
  const network = openNamespaces(made.site);
  const wires = createWires(network);
  t.after(() => wires.healAll());
  const host = network.hostOf("n1");
  const echo = startChild(network.on("n1", [process.execPath, "-e", echoProgram, host]), t);
  await waitFor(() => echo.text() !== "", { timeoutMs, what: "the echo to listen" });
  const asker = startChild(network.on("n2", [process.execPath, "-e", askProgram, host]), t);
  const other = startChild(network.on("observer", [process.execPath, "-e", askProgram, host]), t);
  let line = 0;
  const ask = async (from: typeof asker, count = 1) => {
    const names = Array.from({ length: count }, () => `q${++line}`);
    from.stdin?.write(names.map((name) => `${name}\n`).join(""));
    return names;
  };
  const answered = (from: typeof asker, name: string) =>
    waitFor(() => new RegExp(`${name} took ([\\d.]+)`).exec(from.text())?.[1], {
      timeoutMs,
      what: `an answer to ${name}`,
    });
  for (const from of [asker, other]) await answered(from, (await ask(from))[0] ?? "");

  await wires.set({ from: "n2", to: "n1" }, { state: "dropped" });
  const [unheard = ""] = await ask(asker);
  await answered(other, (await ask(other))[0] ?? "");
  assert.ok(!echo.text().includes(unheard), "n1 is deaf to n2, and to n2 only");

  await wires.heal({ from: "n2", to: "n1" });
  await wires.set({ from: "n1", to: "n2" }, { state: "dropped" });
  const [heard = ""] = await ask(asker);
  await waitFor(() => echo.text().includes(heard), { timeoutMs, what: "n1 to hear n2" });
  await wires.set({ from: "n1", to: "n2" }, { state: "slow", delayMs: 200, jitterMs: 0 });
  const [late = ""] = await ask(asker);
  assert.ok(Number(await answered(asker, late)) >= 200);
  assert.ok(!asker.text().includes(heard), "what was dropped does not come late");

  await wires.set({ from: "n1", to: "n2" }, { state: "lossy", share: 0.5 });
  const names: string[] = [];
  // Few at a time: a socket whose process stands still holds only so many.
  for (let round = 0; round < 4; round++) {
    const some = await ask(asker, 50);
    await waitFor(() => some.every((name) => echo.text().includes(`heard ${name}\n`)), {
      timeoutMs,
      what: "n1 to hear all",
    });
    names.push(...some);
  }
  await wires.healAll();
  await answered(asker, (await ask(asker))[0] ?? "");
  const through = names.filter((name) => asker.text().includes(`${name} took`)).length;
  assert.ok(through > 40 && through < 160, `${through} of 200 came through`);
});

const syncProgram = `
const fs = require("node:fs");
const file = fs.openSync(process.argv[1], "w");
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const beganMs = performance.now();
  fs.writeSync(file, line);
  fs.fsyncSync(file);
  console.log(line + " took " + (performance.now() - beganMs));
}).on("close", () => process.exit(7));`;

test("a slow disk holds back each fsync of a command and its children, switched while they run", async (t) => {
  const dir = temporary(t);
  const disks = createSlowDisks(dir);
  const argv = [
    "sh",
    "-c",
    `"$@"; exit $?`,
    "sh",
    process.execPath,
    "-e",
    syncProgram,
    join(dir, "file"),
  ];
  const child = startChild(disks.wrap("n1", argv), t);
  const took = async (name: string) => {
    child.stdin?.write(`${name}\n`);
    const found = await waitFor(
      () => new RegExp(`${name} took ([\\d.]+)`).exec(child.text())?.[1],
      {
        timeoutMs,
        what: `an fsync for ${name}`,
      },
    );
    return Number(found);
  };
  await took("fast");
  assert.equal(disks.heldBack("n1"), 0);
  disks.set("n1", 150);
  assert.ok((await took("slow")) >= 150);
  assert.equal(disks.heldBack("n1"), 1);
  disks.set("n1", 0);
  await took("again");
  assert.equal(disks.heldBack("n1"), 1);
  child.stdin?.end();
  await waitFor(() => child.exitCode !== null, { timeoutMs, what: "its end" });
  assert.equal(child.exitCode, 7, "the command's own exit code");
});

const volumeProgram = (module: string, dir: string) => `
const fs = require("node:fs");
const { mountVolume } = await import(${JSON.stringify(module)});
const folder = ${JSON.stringify(join(dir, "data"))};
const volume = await mountVolume({ folder, image: ${JSON.stringify(join(dir, "image"))}, bytes: 32 * 1024 * 1024 });
const write = () => { try { fs.writeFileSync(folder + "/probe", Buffer.alloc(1 << 20)); return "written"; } catch (error) { return error.code; } };
const seen = [write()];
fs.rmSync(folder + "/probe");
await volume.fill();
seen.push(write());
volume.free();
seen.push(write());
console.log(seen.join(" "));
// Ends without unmounting: what is mounted must not outlive the drill.
process.exit(0);`;

test("a full disk refuses writes until it is freed, and is gone with the drill's processes", (t) => {
  const dir = temporary(t);
  const module = new URL("../../src/drill/faults/volume.ts", import.meta.url).href;
  const program = `import { createRequire } from "node:module"; const require = createRequire("/"); ${volumeProgram(module, dir)}`;
  const [file = "", ...args] = [
    ...withOwnMounts,
    process.execPath,
    "--input-type=module",
    "-e",
    program,
  ];
  const { status, stdout, stderr } = spawnSync(file, args, {
    encoding: "utf8",
    timeout: timeoutMs,
  });
  assert.equal(status, 0, stderr);
  assert.equal(stdout.trim(), "written ENOSPC written");
  assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(dir));
  assert.ok(!existsSync(join(dir, "data", "probe")));
});
