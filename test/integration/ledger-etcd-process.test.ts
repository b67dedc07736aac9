/** Supervision of a member's process: a real etcd, held as the keeper would hold it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { writeRecord } from "../../src/runtime/files/index.ts";
import {
  createEtcdSupervisor,
  restartSafely,
  type EtcdEvent,
  type EtcdSupervisor,
  type EtcdTimers,
} from "../../src/ledger/etcd/index.ts";
import { memoryFolder, startEtcd, testTimers } from "../support/etcd.ts";
import { createProcessHost } from "../support/etcd-host.ts";
import { bytes, hostDeps, text } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const patientMs = 40_000;

test(
  "a member that dies is started again on its data, an agent's successor adopts it, and other flags come by a restart when all are well",
  { timeout: 90_000 },
  async () => {
    await using folder = await memoryFolder();
    await using etcd = await startEtcd({
      subnet: "127.0.33",
      firstHost: 61,
      folder: folder.path,
      start: false,
    });
    const [member] = etcd.members;
    assert.ok(member);
    await using host = createProcessHost(`${folder.path}/logs`);
    let timers: EtcdTimers = testTimers;
    const events: EtcdEvent[] = [];
    const supervise = (): EtcdSupervisor => {
      const made = createEtcdSupervisor(
        { ...hostDeps, host },
        { binary: "etcd", member: () => etcd.optionsOf(member, { timers }) },
      );
      made.on("log", (event) => events.push(event));
      return made;
    };
    const onlyId = async () => {
      const ids = (await host.list()).map(({ id }) => id);
      assert.equal(ids.length, 1);
      return ids[0] ?? "";
    };

    const first = supervise();
    await first.start();
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    await ledger.transact([], [{ type: "put", key: "a", value: bytes("1") }]);
    await waitFor(() => events.some(({ kind }) => kind === "ready"), {
      what: "etcd to say that it is ready",
      timeoutMs: patientMs,
    });
    await waitFor(() => events.some(({ kind }) => kind === "leader-elected"), {
      what: "the election in the log",
      timeoutMs: patientMs,
    });

    const killed = await onlyId();
    host.kill(killed);
    await waitFor(async () => (await host.list()).some(({ id }) => id !== killed), {
      what: "a new process",
      timeoutMs: patientMs,
    });
    assert.equal(text((await ledger.get("a", { timeoutMs: patientMs })).keyValue?.value), "1");

    await first[Symbol.asyncDispose]();
    const adopted = await onlyId();
    const second = supervise();
    await second.start();
    assert.equal(await onlyId(), adopted);
    assert.equal(second.state().state, "running");

    await second[Symbol.asyncDispose]();
    timers = { heartbeatMs: 60, electionMs: 600 };
    await using third = supervise();
    await third.start();
    const state = third.state();
    assert.ok(state.state === "running" && state.isOutdated);
    await restartSafely(hostDeps, { ledger, supervisor: third, name: "n1", timeoutMs: patientMs });
    const restarted = third.state();
    assert.ok(restarted.state === "running" && !restarted.isOutdated);
    assert.notEqual(await onlyId(), adopted);
    assert.equal(text((await ledger.get("a")).keyValue?.value), "1");

    // As if a later etcd had written it: what runs runs on, and nothing is started.
    const running = await onlyId();
    writeRecord(`${member.dataDir}.version`, { version: "3.9.0" });
    await assert.rejects(third.restart(), { code: "ledger-data-newer" });
    assert.equal(third.state().state, "running");
    await third[Symbol.asyncDispose]();
    timers = { heartbeatMs: 70, electionMs: 700 };
    await using fourth = supervise();
    await fourth.start();
    const kept = fourth.state();
    assert.ok(kept.state === "running" && !kept.isOutdated, "nobody shall restart it");
    assert.equal(await onlyId(), running);

    await fourth.stop();
    assert.deepEqual(await host.list(), []);
    await assert.rejects(fourth.start(), { code: "ledger-data-newer" });
    assert.deepEqual(await host.list(), []);
  },
);

test("a member that could not be started again for its new flags is started as soon as that works", async () => {
  await using folder = await memoryFolder();
  await using etcd = await startEtcd({
    subnet: "127.0.54",
    firstHost: 81,
    folder: folder.path,
    start: false,
  });
  const [member] = etcd.members;
  assert.ok(member);
  await using host = createProcessHost(`${folder.path}/logs`);
  let failures = 0;
  const flaky: typeof host = {
    ...host,
    async start(spec) {
      if (failures-- > 0) throw new Error("no process can be made now");
      return await host.start(spec);
    },
  };
  await using supervisor = createEtcdSupervisor(
    { ...hostDeps, host: flaky },
    { binary: "etcd", member: () => etcd.optionsOf(member) },
  );
  await supervisor.start();
  failures = 1;
  await assert.rejects(supervisor.restart(), /no process can be made now/);
  await waitFor(async () => (await host.list()).length === 1, {
    what: "a new process",
    timeoutMs: patientMs,
  });
});

test("a binary that is missing, or is not etcd, is named", async () => {
  await using folder = await memoryFolder();
  await using etcd = await startEtcd({
    subnet: "127.0.33",
    firstHost: 71,
    folder: folder.path,
    start: false,
  });
  const [member] = etcd.members;
  assert.ok(member);
  await using host = createProcessHost(`${folder.path}/logs`);
  for (const [binary, code] of [
    ["/nowhere/etcd", "etcd-missing"],
    ["true", "etcd-unsupported"],
  ] as const) {
    await using supervisor = createEtcdSupervisor(
      { ...hostDeps, host },
      { binary, member: () => etcd.optionsOf(member) },
    );
    await assert.rejects(supervisor.start(), { code });
  }
});
