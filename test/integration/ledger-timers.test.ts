/**
 * Timers of three real members whose disks get slow: measured from etcd's own figures, decided by one
 * server, and taken over by one member after the other, while writes go on.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { createSlowDisks } from "../../src/drill/faults/slow-disk.ts";
import {
  createEtcdSupervisor,
  createTimersBook,
  defaultTimers,
  restartSafely,
  startTimers,
  type EtcdTimers,
  type TimersPace,
} from "../../src/ledger/etcd/index.ts";
import { tlsGetText } from "../../src/runtime/tls-get/index.ts";
import { createProcessHost } from "../support/etcd-host.ts";
import { memoryFolder, startEtcd, type TestEtcd, type TestMember } from "../support/etcd.ts";
import { bytes, hostDeps } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const patientMs = 60_000;

/** Minutes are seconds here; nothing gets faster meanwhile. */
const pace: TimersPace = {
  sampleEveryMs: 300,
  reportEveryMs: 600,
  lookEveryMs: 400,
  windowMs: 15_000,
  patienceMs: 3_600_000,
};

type Restarts = { names: string[]; atOnceMax: number };

/** What an agent does of it: its member's process, its own view of the ledger, its timers. */
async function startServer(
  etcd: TestEtcd,
  member: TestMember,
  options: {
    folder: string;
    wrap: (argv: readonly string[]) => readonly string[];
    restarts: Restarts;
  },
) {
  const { name } = member;
  const { restarts } = options;
  const stack = new AsyncDisposableStack();
  const host = stack.use(createProcessHost(join(options.folder, `logs-${name}`), options.wrap));
  let kept: EtcdTimers = defaultTimers;
  const supervisor = stack.use(
    createEtcdSupervisor(
      { ...hostDeps, host },
      { binary: "etcd", member: () => etcd.optionsOf(member, { timers: kept }) },
    ),
  );
  const others = etcd.members.map((one) => one.name).filter((one) => one !== name);
  await supervisor.start();
  let restarting = 0;

  return {
    name,
    flags: async () => (await host.list()).flatMap(({ argv }) => argv),
    /** What `following` ends has to end while there is a quorum. */
    async follow(following: AsyncDisposableStack) {
      const ledger = following.use(await etcd.openLedger({ name, from: [name, ...others] }));
      const statuses = async () => await ledger.cluster.status();
      const ids = await ledger.cluster.members();
      following.use(
        startTimers(
          {
            ...hostDeps,
            ledger,
            member: {
              metrics: () =>
                tlsGetText(
                  {
                    ...etcd.credentials,
                    ...{ host: member.host, port: member.clientPort, path: "/metrics" },
                    serverName: etcd.serverName,
                  },
                  { timeoutMs: 5_000, bytesMax: 4 * 1024 * 1024 },
                ),
              running: () => (supervisor.state().state === "running" ? kept : undefined),
              memberId: () => ids.find((one) => one.name === name)?.id,
              async cluster() {
                const seen = await statuses();
                const leader = seen.find(
                  (one) => one.state === "answers" && one.leaderId === one.id,
                );
                return { members: seen.map((one) => one.name), leader: leader?.name };
              },
              async restart(wanted) {
                const restart = async () => {
                  kept = wanted;
                  restarting++;
                  restarts.atOnceMax = Math.max(restarts.atOnceMax, restarting);
                  restarts.names.push(name);
                  await supervisor.restart();
                  restarting--;
                };
                await restartSafely(hostDeps, { ledger, supervisor: { restart }, name });
              },
            },
          },
          { self: name, pace },
        ),
      );
      return ledger;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test(
  "disks that get slow: elections are given more time, one member after the other restarts, and every acknowledged write stands",
  { timeout: 150_000 },
  async () => {
    await using folder = await memoryFolder();
    await using etcd = await startEtcd({
      subnet: "127.0.54",
      members: 3,
      folder: folder.path,
      start: false,
    });
    const disks = createSlowDisks(join(folder.path, "disks"));
    const restarts: Restarts = { names: [], atOnceMax: 0 };
    await using stack = new AsyncDisposableStack();
    const servers = await Promise.all(
      etcd.members.map(async (member) => {
        const wrap = (argv: readonly string[]) => disks.wrap(member.name, argv);
        return stack.use(await startServer(etcd, member, { folder: folder.path, wrap, restarts }));
      }),
    );
    await using following = new AsyncDisposableStack();
    const [ledger] = await Promise.all(servers.map((server) => server.follow(following)));
    assert.ok(ledger);
    const book = createTimersBook(ledger);
    await waitFor(async () => (await book.reports()).length === 3, {
      what: "a report of every member",
      timeoutMs: patientMs,
    });

    const over = new AbortController();
    const done: string[] = [];
    const write = async (writer: number) => {
      for (let count = 0; !over.signal.aborted; count++) {
        const key = `apps/${writer}/${count}`;
        const outcome = await ledger
          .transact([], [{ type: "put", key, value: bytes("1") }])
          .catch(() => undefined);
        if (outcome?.state === "done") done.push(key);
        await hostDeps.clock.sleep(20);
      }
    };
    const writers = [0, 1, 2, 3].map(write);

    for (const { name } of servers) disks.set(name, 60);
    const wanted = await waitFor(
      async () => {
        const now = await book.wanted();
        return now && now.timers.electionMs >= 2_000 ? now : undefined;
      },
      { what: "slower timers", timeoutMs: patientMs },
    );
    assert.match(wanted.why, /the (disk of n\d takes|round trip from)/);
    const atDecision = done.length;
    await waitFor(
      async () => {
        const { timers } = (await book.wanted()) ?? {};
        const flags = await Promise.all(servers.map((server) => server.flags()));
        return flags.every((argv) => argv.includes(`--election-timeout=${timers?.electionMs}`));
      },
      { what: "all members to run with them", timeoutMs: patientMs },
    );
    await waitFor(() => done.length > atDecision + 20, {
      what: "writes that go on",
      timeoutMs: patientMs,
    });
    over.abort();
    for (const { name } of servers) disks.set(name, 0);
    await Promise.all(writers);

    assert.equal(restarts.atOnceMax, 1);
    const { items } = await ledger.list("apps/");
    const standing = new Set(items.map(({ key }) => key));
    assert.deepEqual(
      done.filter((key) => !standing.has(key)),
      [],
    );
  },
);
