/**
 * Timers of simulated members in virtual time: three servers on one ledger, each with its own agent
 * that may die and come back; disks that get slow and fast again; restarts by `restartSafely` itself.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { Ledger } from "../../src/ledger/index.ts";
import {
  createTimersBook,
  defaultTimers,
  restartSafely,
  startTimers,
  type EtcdMemberStatus,
  type EtcdTimers,
  type Timers,
} from "../../src/ledger/etcd/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { etcdMetrics } from "../support/etcd-metrics.ts";
import { memoryFolder } from "../support/etcd.ts";
import { openTestLedger } from "../support/ledger.ts";

const names = ["n1", "n2", "n3"];
const minuteMs = 60_000;
/** What a member's process takes to be back. */
const restartMs = 4_000;

type Restart = {
  name: string;
  electionMs: number;
  othersWell: boolean;
  led: boolean;
  othersDone: boolean;
};

function createCell(clock: SimulatedClock, ledger: Ledger) {
  const running = new Map<string, EtcdTimers>(names.map((name) => [name, defaultTimers]));
  const down = new Set<string>();
  const fsyncs = new Map<string, Record<string, number>>(names.map((name) => [name, {}]));
  const startedS = new Map<string, number>(names.map((name) => [name, 1]));
  const agents = new Map<string, { timers: Timers; stopping: AbortController }>();
  const restarts: Restart[] = [];
  let leader = "n1";
  /** Upper bound of the bucket that all fsyncs fall into, seconds. */
  let disk = "0.001";

  const idOf = (name: string) => String(names.indexOf(name) + 1);
  const status = async (): Promise<EtcdMemberStatus[]> =>
    names.map((name) =>
      down.has(name)
        ? { state: "unreachable", name, error: new Error("down") }
        : {
            state: "answers",
            name,
            id: idOf(name),
            clusterId: "1",
            version: "3.4.23",
            leaderId: idOf(leader),
            isLearner: false,
            raftTerm: 1,
            raftIndex: 1,
            raftAppliedIndex: 1,
            etcdRevision: 1,
            dbBytes: 1,
            dbBytesInUse: 1,
            errors: [],
          },
    );
  const cluster = {
    status,
    moveLeader: async (id: string) => void (leader = names[Number(id) - 1] ?? leader),
  } as unknown as Parameters<typeof restartSafely>[1]["ledger"]["cluster"];

  const begin = (name: string) => {
    const stopping = new AbortController();
    const restartWith = async (timers: EtcdTimers) => {
      restarts.push({
        name,
        electionMs: timers.electionMs,
        othersWell: down.size === 0,
        led: leader === name,
        othersDone: names.every(
          (one) => one === name || running.get(one)?.electionMs === timers.electionMs,
        ),
      });
      down.add(name);
      running.set(name, timers);
      fsyncs.set(name, {});
      startedS.set(name, (startedS.get(name) ?? 1) + 1);
      // The process is the keeper's: it comes up whatever becomes of the agent.
      await new Promise<void>((resolve) => {
        clock.after(restartMs, () => {
          down.delete(name);
          resolve();
        });
      });
    };
    const timers = startTimers(
      {
        clock,
        log: silentLog,
        ledger,
        member: {
          async metrics() {
            const counted = fsyncs.get(name) ?? {};
            counted[disk] = (counted[disk] ?? 0) + 100;
            return etcdMetrics({ startedS: startedS.get(name) ?? 1, fsyncs: counted });
          },
          running: () => (down.has(name) ? undefined : running.get(name)),
          memberId: () => idOf(name),
          cluster: async () => ({ members: names, leader }),
          restart: async (wanted) => {
            const led = leader;
            await restartSafely(
              { clock, log: silentLog },
              {
                ledger: { campaign: (of, options) => ledger.campaign(of, options), cluster },
                supervisor: {
                  async restart() {
                    const moved = leader !== led;
                    await restartWith(wanted);
                    const last = restarts.at(-1);
                    if (last && moved && led === name) last.led = true;
                  },
                },
                name,
                signal: stopping.signal,
              },
            );
          },
        },
      },
      { self: name },
    );
    agents.set(name, { timers, stopping });
  };
  for (const name of names) begin(name);

  const end = async (name: string) => {
    const agent = agents.get(name);
    agents.delete(name);
    agent?.stopping.abort(new Error("the agent ends"));
    const gone = agent?.timers[Symbol.asyncDispose]();
    await clock.advance(30_000);
    await gone;
  };
  return {
    restarts,
    slow: (bound: string) => void (disk = bound),
    elections: () => names.map((name) => running.get(name)?.electionMs),
    begin,
    end,
    async pass(ms: number) {
      for (let passedMs = 0; passedMs < ms; passedMs += 5_000) await clock.advance(5_000);
    },
    async [Symbol.asyncDispose]() {
      for (const name of [...agents.keys()]) await end(name);
    },
  };
}

test("slow disks: all members get slower within minutes, followers first, one at a time; fast ones: faster after an hour", async () => {
  await using folder = await memoryFolder();
  const clock = createSimulatedClock();
  const deps = { clock, random: seededRandom(1), log: silentLog };
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), ...deps });
  await using cell = createCell(clock, ledger);
  await cell.pass(7 * minuteMs);
  assert.deepEqual(cell.restarts, []);

  cell.slow("0.064");
  await cell.pass(4 * minuteMs);
  assert.deepEqual(cell.elections(), [2_000, 2_000, 2_000]);
  assert.equal(cell.restarts.length, 3);
  assert.ok(cell.restarts.every(({ othersWell }) => othersWell));
  assert.deepEqual(
    cell.restarts.map(({ name, othersDone }) => name === "n1" && othersDone),
    [false, false, true],
    "the leader when all others have done so",
  );

  cell.slow("0.001");
  await cell.pass(50 * minuteMs);
  assert.deepEqual(cell.elections(), [2_000, 2_000, 2_000], "not before an hour");
  await cell.pass(30 * minuteMs);
  assert.deepEqual(cell.elections(), [1_000, 1_000, 1_000]);
  const wanted = await createTimersBook(ledger).wanted();
  assert.match(wanted?.why ?? "", /for 60 minutes/);
});

test("agents that die in the middle of a change, the one that decides too: it is finished by whoever is left and those who return", async () => {
  for (const seed of [1, 2, 3]) {
    await using folder = await memoryFolder();
    const clock = createSimulatedClock();
    const random = seededRandom(seed);
    const deps = { clock, random, log: silentLog };
    await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), ...deps });
    await using cell = createCell(clock, ledger);
    await cell.pass(minuteMs);
    cell.slow("0.256");
    for (let death = 0; death < 4; death++) {
      const name = names[random.integer(names.length)] ?? "n1";
      await cell.pass(5_000 * (1 + random.integer(8)));
      await cell.end(name);
      await cell.pass(5_000 * (1 + random.integer(4)));
      cell.begin(name);
    }
    await cell.pass(5 * minuteMs);
    assert.deepEqual(cell.elections(), [5_000, 5_000, 5_000], `seed ${seed}`);
    assert.ok(
      cell.restarts.every(({ othersWell }) => othersWell),
      `seed ${seed}: one at a time, and only while all are well`,
    );
  }
});
