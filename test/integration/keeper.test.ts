import { strict as assert } from "node:assert";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { ContainerStatus, Keeper } from "../../src/keeper/index.ts";
import {
  createKeeperFolder,
  isRunning,
  readLogLines,
  shellContainer,
  type KeeperFolder,
} from "../support/keeper.ts";
import { waitFor } from "../support/wait.ts";

async function statusOf(keeper: Keeper, id: string): Promise<ContainerStatus> {
  const found = (await keeper.processes.list()).find((status) => status.id === id);
  assert.ok(found, `container ${id} is known`);
  return found;
}

const ended = (keeper: Keeper, id: string) =>
  waitFor(
    async () => {
      const status = await statusOf(keeper, id);
      return status.current.state === "exited" ? { ...status, current: status.current } : undefined;
    },
    { what: `${id} to end` },
  );

function pidOf(status: ContainerStatus): number {
  assert.ok(status.current.state === "running", `${status.id} is ${status.current.state}`);
  return status.current.pid;
}

const texts = (status: ContainerStatus) =>
  readLogLines(status.logDirectory).map((line) => line.split(" ").slice(1).join(" "));

/** A pid that a container wrote as a line of its log. */
const pidInLog = (status: ContainerStatus) =>
  waitFor(
    () => Number(/ (\d+)$/.exec(readLogLines(status.logDirectory)[0] ?? "")?.[1] ?? 0) || undefined,
    {
      what: "a pid in the log",
    },
  );

test("K3: exit codes and signals are recorded, also of what ended while no keeper lived", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const three = await keeper.processes.start(shellContainer(folder, "exit 3"));
  assert.deepEqual((await ended(keeper, three.id)).current.exit, { code: 3, reason: "exited" });
  const killed = await keeper.processes.start(shellContainer(folder, "kill -KILL $$"));
  const byKill = (await ended(keeper, killed.id)).current.exit;
  assert.deepEqual(byKill, { code: 137, signal: 9, reason: "exited" });
  const interrupted = await keeper.processes.start(shellContainer(folder, "kill -INT $$; exit 1"));
  assert.equal((await ended(keeper, interrupted.id)).current.exit.signal, 2, "INT is not ignored");

  const gate = join(folder.dataDir, "gate");
  const late = await keeper.processes.start(
    shellContainer(folder, `while [ ! -e ${gate} ]; do sleep 0.02; done; exit 42`),
  );
  const pid = pidOf(late);
  keeper.close();
  await folder.kill();
  writeFileSync(gate, "");
  await waitFor(() => !isRunning(pid), { what: "the container to end" });
  keeper = await folder.open();
  assert.deepEqual((await ended(keeper, late.id)).current.exit, { code: 42, reason: "exited" });
  assert.deepEqual((await ended(keeper, three.id)).current.exit, { code: 3, reason: "exited" });
});

test("K1: containers outlive a SIGKILL of the keeper with their pids, and their logs go on without loss or doubling", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const started = await keeper.processes.start(
    shellContainer(folder, "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.005; done"),
  );
  const pid = pidOf(started);
  const lines = () => readLogLines(started.logDirectory).length;
  await waitFor(() => lines() > 20, { what: "20 lines" });
  for (let round = 0; round < 3; round++) {
    keeper.close();
    await folder.kill();
    assert.ok(isRunning(pid), "it goes on without a keeper");
    const before = lines();
    keeper = await folder.open();
    assert.equal(pidOf(await statusOf(keeper, started.id)), pid);
    await waitFor(() => lines() > before + 20, { what: "20 more lines" });
  }
  await keeper.processes.stop(started.id, { graceMs: 1000 });
  const numbers = texts(started).map((text) => Number(text.split(" ")[3]));
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
  );
});

test("K2: a keeper that was replaced still stops what it adopted", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const started = await keeper.processes.start(shellContainer(folder, "sleep 1000"));
  const pid = pidOf(started);
  keeper.close();
  await folder.kill();
  keeper = await folder.open();
  const stopped = await keeper.processes.stop(started.id, { graceMs: 5000 });
  assert.ok(stopped.current.state === "exited");
  assert.deepEqual(stopped.current.exit, { code: 143, signal: 15, reason: "stopped" });
  assert.ok(!isRunning(pid));
});

test("K4: who ignores TERM is killed after the grace, and what escaped by setsid as far as the report says", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const started = await keeper.processes.start(
    shellContainer(
      folder,
      // Told once it has escaped.
      "trap '' TERM; setsid sh -c 'echo $$; exec sleep 1000' & while :; do sleep 0.05; done",
    ),
  );
  const escaped = await pidInLog(started);
  assert.ok(isRunning(escaped));
  const stopped = await keeper.processes.stop(started.id, { graceMs: 100 });
  assert.ok(stopped.current.state === "exited");
  assert.equal(stopped.current.exit.signal, 9);
  assert.equal(isRunning(escaped), stopped.enforcement.kill === "group");
});

test("K4: without cgroups the report says group, and the group is killed", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open({ flags: { cgroups: false } });
  const started = await keeper.processes.start(
    shellContainer(folder, "sleep 1000 & echo $!; trap '' TERM; while :; do sleep 0.05; done", {
      limits: { memoryBytes: 64 * 1024 * 1024 },
    }),
  );
  const member = await pidInLog(started);
  assert.deepEqual(started.enforcement, { limits: "none", kill: "group" });
  await keeper.processes.stop(started.id, { graceMs: 50 });
  await waitFor(() => !isRunning(member), { what: "the group's member to be gone" });
});

test("K4: children left behind by a command that ended by itself are killed", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const started = await keeper.processes.start(shellContainer(folder, "sleep 1000 & echo $!"));
  const child = await pidInLog(started);
  await ended(keeper, started.id);
  await waitFor(() => !isRunning(child), { what: "the child to be gone" });
});

test("K5: a memory limit that the host enforces ends the container as oom; else the report says none", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const hog = `x=a; while [ \${#x} -lt 200000000 ]; do x=$x$x; done; echo \${#x}`;
  const started = await keeper.processes.start(
    shellContainer(folder, hog, { limits: { memoryBytes: 16 * 1024 * 1024 } }),
  );
  const { exit } = (await ended(keeper, started.id)).current;
  if (started.enforcement.limits === "enforced") {
    assert.deepEqual(exit, { code: 137, signal: 9, reason: "oom" });
  } else assert.equal(exit.reason, "exited");
});

test("K6: logs are CRI lines of both streams, cut into files of a bounded size, oldest dropped", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open({ flags: { logFileBytesMax: 20_000, logFilesMax: 3 } });
  const started = await keeper.processes.start(
    shellContainer(
      folder,
      "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo number $i; done; echo oops >&2; printf unfinished",
    ),
  );
  await ended(keeper, started.id);
  const names = readdirSync(started.logDirectory).sort();
  assert.equal(names.length, 3);
  for (const name of names) {
    assert.ok(readFileSync(join(started.logDirectory, name)).length <= 20_000, name);
  }
  const lines = readLogLines(started.logDirectory);
  for (const line of lines) assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z std(out|err) F /);
  const said = texts(started);
  assert.ok(said.includes("stdout F number 3000"));
  assert.ok(said.includes("stderr F oops"));
  assert.ok(said.includes("stdout F unfinished"));
  assert.deepEqual(
    readdirSync(join(folder.dataDir, "keeper", "spool")),
    [],
    "the spool is given back",
  );
});

test("K6: a line on standard error stands after all that was said on standard output before it", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  // Marks go to standard error while the keeper reads: each must find its number already there.
  const started = await keeper.processes.start(
    shellContainer(
      folder,
      "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo number $i; [ $((i % 100)) = 0 ] && echo mark $i >&2; done; true",
    ),
  );
  await ended(keeper, started.id);
  let last = 0;
  let marks = 0;
  for (const line of texts(started)) {
    const [, kind, number] = /(number|mark) (\d+)$/.exec(line) ?? [];
    if (kind === "number") last = Number(number);
    else {
      marks++;
      assert.ok(Number(number) <= last, `${line} came before number ${number}`);
    }
  }
  assert.deepEqual([last, marks], [4000, 40]);
});

test("K6: the spool of a container that runs gives back what was read, and loses nothing by that", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const line = "x".repeat(99);
  const started = await keeper.processes.start(
    shellContainer(folder, `yes ${line} | head -n 60000; echo last; exec sleep 1000`),
  );
  const spool = join(folder.dataDir, "keeper", "spool", `${started.id}.out`);
  const lastLine = () => readLogLines(started.logDirectory).at(-1)?.split(" ").at(-1);
  await waitFor(() => lastLine() === "last", { what: "all to be read" });
  const { size, blocks } = statSync(spool);
  assert.equal(size, 60_000 * 100 + 5);
  assert.ok(blocks * 512 < 3 * 1024 * 1024, `${blocks * 512} bytes are still held`);
  keeper.close();
  await folder.kill();
  keeper = await folder.open();
  await keeper.processes.stop(started.id, { graceMs: 1000 });
  assert.equal(readLogLines(started.logDirectory).length, 60_001);
});

test("exec runs with the container's environment and folder; too slow a command is killed", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const spec = shellContainer(folder, "sleep 1000", { cwd: "/usr" });
  const { id } = await keeper.processes.start({
    ...spec,
    env: { ...spec.env, "odd.name-x": "seen", PLAIN: "a b" },
  });
  const run = (...argv: string[]) => keeper.processes.exec(id, argv, { timeoutMs: 60_000 });
  const said = await run("sh", "-c", "pwd; echo $PLAIN; echo bad >&2; exit 7");
  assert.equal(said.stdout, "/usr\na b\n");
  assert.match((await run("env")).stdout, /^odd\.name-x=seen$/m);
  assert.deepEqual([said.code, said.stderr, said.timedOut], [7, "bad\n", false]);
  const slow = await keeper.processes.exec(id, ["sleep", "100"], { timeoutMs: 100 });
  assert.deepEqual([slow.code, slow.timedOut], [undefined, true]);
  await assert.rejects(run("no-such-command"), { code: "container-command" });
});

test("bad specifications are refused by field and leave nothing behind", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const start = (more: Parameters<typeof shellContainer>[2]) =>
    keeper.processes.start(shellContainer(folder, "true", more));
  await assert.rejects(start({ id: "../x" }), {
    code: "invalid-container",
    message: /^id: "..\/x"/,
  });
  await assert.rejects(start({ argv: [] }), { code: "invalid-container", message: /^argv/ });
  await assert.rejects(start({ cwd: "relative" }), { code: "invalid-container", message: /^cwd/ });
  await assert.rejects(start({ limits: { cpuMilli: 0 } }), { message: /^limits.cpuMilli: 0/ });
  await assert.rejects(start({ cwd: "/no/such" }), { code: "container-command" });
  await assert.rejects(start({ argv: ["nothing-like-it"] }), {
    code: "container-command",
    message: /"nothing-like-it" is in no folder of PATH/,
  });
  await assert.rejects(keeper.processes.stop("nobody", { graceMs: 0 }), {
    code: "container-unknown",
  });
  assert.deepEqual(await keeper.processes.list(), []);
  assert.deepEqual(readdirSync(join(folder.dataDir, "keeper", "containers")), []);
});

test("a start is idempotent by id; an ended container is forgotten on request, a running one is not", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const spec = shellContainer(folder, "sleep 1000");
  const [first, second] = await Promise.all([
    keeper.processes.start(spec),
    keeper.processes.start(spec),
  ]);
  assert.equal(pidOf(first), pidOf(second));
  await assert.rejects(keeper.processes.remove(spec.id), { code: "container-running" });
  await keeper.processes.stop(spec.id, { graceMs: 1000 });
  await keeper.processes.remove(spec.id);
  await keeper.processes.remove(spec.id);
  assert.deepEqual(await keeper.processes.list(), []);
  assert.ok(!existsSync(first.logDirectory));
});

test("K7: one keeper a folder: a second one ends, and a torn record is forgotten, not believed", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const spec = shellContainer(folder, "exit 0");
  await keeper.processes.start(spec);
  await ended(keeper, spec.id);
  const pid = folder.pid();
  const again = await folder.open();
  assert.equal((await again.status()).keeper.pid, pid);
  again.close();
  keeper.close();
  await folder.kill();
  writeFileSync(join(folder.dataDir, "keeper", "containers", spec.id, "record"), "torn");
  keeper = await folder.open();
  assert.deepEqual(await keeper.processes.list(), []);
});

test("what is not the protocol ends the connection or is answered with keeper-protocol", async () => {
  await using folder: KeeperFolder = createKeeperFolder();
  await folder.open();
  const path = readFileSync(join(folder.dataDir, "keeper", "socket"), "utf8").trim();
  const talk = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(path);
      let answer = "";
      socket.on("data", (chunk) => {
        answer += chunk.toString();
        socket.end();
      });
      socket.on("close", () => resolve(answer));
      socket.on("error", reject);
      socket.write(text);
    });
  assert.equal(await talk("not json\n"), "");
  assert.match(
    await talk('{"id":1,"method":"status"}\n'),
    /keeper-protocol.*first request is hello/,
  );
  assert.match(
    await talk('{"id":1,"method":"hello","params":{"protocol":99,"role":"tool","pid":1}}\n'),
    /keeper-protocol.*speaks protocol 1, not 99/,
  );
});

test("a data folder with a long path gets its socket elsewhere", async () => {
  await using folder = createKeeperFolder(`skerry-${"long".repeat(30)}-`);
  const keeper = await folder.open();
  assert.deepEqual(await keeper.processes.list(), []);
});
