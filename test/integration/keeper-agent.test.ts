import { strict as assert } from "node:assert";
import { generateKeyPairSync, verify } from "node:crypto";
import { createSocket } from "node:dgram";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeBeat, splitBeat, type Beat } from "../../src/api/records/index.ts";
import { releaseKeeper, type AgentSpec, type Keeper } from "../../src/keeper/index.ts";
import { bootTimeMs } from "../../src/runtime/clock/index.ts";
import { identifyProcess, version } from "../../src/runtime/process/index.ts";
import {
  createKeeperFolder,
  isRunning,
  keeperDeps,
  shellContainer,
  type KeeperFolder,
} from "../support/keeper.ts";
import { waitFor } from "../support/wait.ts";

function agentSpec(folder: KeeperFolder, ...flags: string[]): AgentSpec {
  return {
    entry: join(import.meta.dirname, "../support/fake-agent.entry.ts"),
    args: [folder.dataDir, ...flags],
    env: { SKERRY_TEST: folder.dataDir },
    logPath: join(folder.dataDir, "logs", "agent.log"),
  };
}

const runningAgent = (keeper: Keeper, not?: number) =>
  waitFor(
    async () => {
      const { agent } = await keeper.status();
      return agent.state === "running" && agent.pid !== not ? agent.pid : undefined;
    },
    { what: "an agent to run" },
  );

test("K8: the agent is started, started again when it is killed, and pods keep their pids meanwhile", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const flag = "--max-semi-space-size=2";
  await keeper.startAgent({ ...agentSpec(folder), nodeArgs: [flag] });
  const pod = await keeper.processes.start(shellContainer(folder, "sleep 1000"));
  const first = await runningAgent(keeper);
  assert.ok(readFileSync(`/proc/${first}/cmdline`, "utf8").split("\0").includes(flag));
  process.kill(first, "SIGKILL");
  const second = await runningAgent(keeper, first);
  await waitFor(async () => (await keeper.status()).agentUp, { what: "the agent to be up" });
  assert.deepEqual((await keeper.processes.list())[0]?.current, pod.current);
  await waitFor(
    () => readFileSync(agentSpec(folder).logPath, "utf8").includes(`agent ${second} runs`),
    { what: "the agent's log" },
  );
  assert.deepEqual(await keeper.stopAgent({ graceMs: 5000 }), { state: "none" });
  assert.ok(!isRunning(second));
});

test("K9: agent and keeper watch each other: the agent brings up a new keeper, which adopts the agent", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  await keeper.startAgent(agentSpec(folder));
  const agent = await runningAgent(keeper);
  await waitFor(async () => (await keeper.status()).agentUp, { what: "the agent to be up" });
  const old = folder.pid();
  keeper.close();
  await folder.kill();
  await waitFor(() => folder.pid() !== undefined && folder.pid() !== old, {
    what: "a keeper started by the agent",
  });
  const looker = await folder.connect();
  const status = await waitFor(
    async () => {
      const now = await looker.status();
      return now.agentUp ? now : undefined;
    },
    { what: "the agent to be up for the new keeper" },
  );
  assert.deepEqual(status.agent, { state: "running", pid: agent, restarts: 0 });
});

test("K8: an agent whose first start ends as hopeless stays down; one that ran before is started again", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const hopeless = { ...agentSpec(folder, "--dies"), hopelessExitCode: 1 };
  await keeper.startAgent(hopeless);
  const stateOf = async () => (await keeper.status()).agent;
  await waitFor(async () => (await stateOf()).state === "none", { what: "the keeper to give up" });
  // Without the code, or with another one, it is tried again.
  await keeper.startAgent({ ...hopeless, hopelessExitCode: 78 });
  const waits = async () => {
    const state = await stateOf();
    return state.state === "waiting" && state.restarts > 1;
  };
  await waitFor(waits, { what: "the keeper to try again" });
  await keeper.stopAgent({ graceMs: 100 });
  await keeper.startAgent({ ...agentSpec(folder), hopelessExitCode: 137 });
  const first = await runningAgent(keeper);
  process.kill(first, "SIGKILL");
  await runningAgent(keeper, first);
});

test("K2: a keeper of another version gives way to the next without touching its pods", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  await keeper.processes.start(shellContainer(folder, "sleep 1000"));
  const podOf = async (one: Keeper) => {
    const current = (await one.processes.list())[0]?.current;
    return current?.state === "running" ? current.pid : undefined;
  };
  const pod = await podOf(keeper);
  assert.ok(pod);
  const before = folder.pid();
  keeper.close();
  await releaseKeeper(folder.dataDir, keeperDeps);
  assert.equal(folder.pid(), undefined);
  const next = await folder.open();
  assert.notEqual(folder.pid(), before);
  assert.equal(await podOf(next), pod);
  assert.equal((await next.status()).keeper.version, version());
  // As towards one that cannot be spoken to: the agent goes with it and is not started again.
  await next.startAgent(agentSpec(folder));
  const agent = identifyProcess(await runningAgent(next));
  assert.ok(agent);
  next.close();
  await releaseKeeper(folder.dataDir, keeperDeps, { agent });
  const last = await folder.open();
  assert.equal(await podOf(last), pod);
  assert.deepEqual((await last.status()).agent, { state: "none" });
  assert.ok(!isRunning(agent.pid));
});

test("K8: an agent that keeps dying is started again ever later", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const waits: number[] = [];
  keeper.on("agent", (state) => {
    if (state.state === "waiting") waits.push(state.restartInMs);
  });
  await keeper.startAgent(agentSpec(folder, "--dies"));
  await waitFor(() => waits.length >= 3, { what: "three deaths" });
  const [first = -1, second = -1, third = -1] = waits;
  assert.equal(first, 0, "the first restart is at once");
  assert.ok(second > 0 && third >= second, `waits grow: ${waits.join(", ")}`);
});

test("an agent deaf to TERM is killed; a bad agent specification is refused by field", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  await keeper.startAgent(agentSpec(folder, "--deaf"));
  const pid = await runningAgent(keeper);
  await waitFor(async () => (await keeper.status()).agentUp, { what: "the agent to be up" });
  assert.deepEqual(await keeper.stopAgent({ graceMs: 50 }), { state: "none" });
  assert.ok(!isRunning(pid));
  await assert.rejects(keeper.startAgent({ ...agentSpec(folder), entry: "x.ts" }), {
    code: "invalid-agent",
    message: /^agent entry: "x.ts"/,
  });
  const nodeArgs = "--max-semi-space-size=1" as unknown as readonly string[];
  await assert.rejects(keeper.startAgent({ ...agentSpec(folder), nodeArgs }), {
    code: "invalid-agent",
    message: /^agent nodeArgs: /,
  });
});

test("shutdown stops agent and pods and ends the keeper; without stopContainers pods go on", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  await keeper.startAgent(agentSpec(folder));
  const agent = await runningAgent(keeper);
  const pod = await keeper.processes.start(shellContainer(folder, "sleep 1000"));
  assert.ok(pod.current.state === "running");
  await keeper.shutdown({ agentGraceMs: 5000, stopContainers: false });
  assert.equal(folder.pid(), undefined);
  assert.deepEqual([isRunning(agent), isRunning(pod.current.pid)], [false, true]);
  keeper = await folder.open();
  assert.deepEqual((await keeper.status()).agent, { state: "none" }, "it was not wanted any more");
  await keeper.shutdown({ agentGraceMs: 5000, stopContainers: true });
  assert.ok(!isRunning(pod.current.pid));
});

test("K10: beats are signed, say whether the agent answers, and age what was heard", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const beats: Beat[] = [];
  let forged = 0;
  const socket = createSocket("udp4");
  socket.on("message", (datagram) => {
    const parts = splitBeat(datagram);
    const beat = parts && decodeBeat(parts.payload);
    const key = { key: publicKey, dsaEncoding: "ieee-p1363" } as const;
    if (beat && verify("sha256", parts.signed, key, parts.signature)) beats.push(beat);
    else forged++;
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  try {
    await keeper.configureBeats({
      node: "n1",
      keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      certificateBase64: Buffer.from("a certificate").toString("base64"),
      peers: [{ host: "127.0.0.1", port: socket.address().port }],
      bindAddress: "127.0.0.1",
    });
    keeper.reportHeard({ n2: 40 });
    await waitFor(() => beats.some((beat) => beat.heard["n2"] !== undefined), { what: "heard" });
    assert.equal(beats.at(-1)?.agent, "down", "no agent yet");
    await keeper.startAgent(agentSpec(folder));
    await waitFor(() => beats.at(-1)?.agent === "up", { what: "agent up" });
    const agent = await runningAgent(keeper);
    process.kill(agent, "SIGSTOP");
    await waitFor(() => beats.at(-1)?.agent === "down", { what: "agent down while stopped" });
    process.kill(agent, "SIGCONT");
    await waitFor(() => beats.at(-1)?.agent === "up", { what: "agent up again" });
    const ages = beats.flatMap((beat) => beat.heard["n2"] ?? []);
    assert.deepEqual(
      ages,
      ages.toSorted((a, b) => a - b),
      "ages grow while nothing new is heard",
    );
    assert.ok((ages[0] ?? 0) >= 40 && (ages.at(-1) ?? 0) > 1000);
    const sequences = beats.map((beat) => beat.sequence);
    assert.deepEqual(
      sequences,
      sequences.map((_, index) => (sequences[0] ?? 0) + index),
    );
    assert.equal(forged, 0);

    const before = beats.at(-1);
    await folder.kill();
    const next = await waitFor(
      () => beats.find((beat) => beat.keeperStartedMs > (before?.keeperStartedMs ?? 0)),
      { what: "a beat of the next keeper, told anew by its client" },
    );
    assert.equal(next.sequence, 1);
    assert.equal(next.bootId, before?.bootId);
  } finally {
    socket.close();
  }
  await assert.rejects(
    keeper.configureBeats({
      node: "n1",
      keyPem: "no key",
      certificateBase64: "",
      peers: [],
    }),
    { code: "invalid-beats", message: /^keyPem/ },
  );
});

test("K11: a leased container runs only while the lease does, also over a keeper's death", async () => {
  await using folder = createKeeperFolder();
  let keeper = await folder.open();
  const leased = shellContainer(folder, "sleep 1000", { leased: true });
  const free = shellContainer(folder, "sleep 1000");
  await assert.rejects(keeper.processes.start(leased), { code: "lease-expired" });
  await assert.rejects(keeper.renewLease({ sentBootMs: bootTimeMs() + 60_000, ttlMs: 1 }), {
    code: "invalid-lease",
  });
  await keeper.renewLease({ sentBootMs: bootTimeMs(), ttlMs: 60_000 });
  await keeper.processes.start(leased);
  await keeper.processes.start(free);
  const stateOf = async (id: string) =>
    (await keeper.processes.list()).find((status) => status.id === id)?.current;
  keeper.close();
  await folder.kill();
  keeper = await folder.open();
  assert.equal((await stateOf(leased.id))?.state, "running", "the lease was not forgotten");
  keeper.close();
  await folder.kill();
  // As if a minute had gone by while no keeper lived.
  const { boot, written } = JSON.parse(
    readFileSync(join(folder.dataDir, "keeper", "lease"), "utf8"),
  );
  assert.equal(typeof written, "number");

  writeFileSync(
    join(folder.dataDir, "keeper", "lease"),
    JSON.stringify({ boot, written: bootTimeMs() + 300 }),
  );
  keeper = await folder.open();
  const last = await waitFor(
    async () => {
      const current = await stateOf(leased.id);
      return current?.state === "exited" ? current : undefined;
    },
    { what: "the leased container to be stopped" },
  );
  assert.equal(last.exit.reason, "lease-expired");
  assert.equal((await stateOf(free.id))?.state, "running");
});
