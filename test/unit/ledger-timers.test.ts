/** Timers of the ledger's members: what is read from etcd, and what is decided from it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { MonotonicMs } from "../../src/lib/brand.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  createWindow,
  firstState,
  parseSample,
  planTimers,
  timersAtStart,
  timerSteps,
  type EtcdTimers,
  type Measurement,
  type MemberReport,
  type TimerState,
} from "../../src/ledger/etcd/index.ts";
import { etcdMetrics } from "../support/etcd-metrics.ts";

const hourMs = 3_600_000;
const lookMs = 10_000;
const etcdsOwn: EtcdTimers = { heartbeatMs: 100, electionMs: 1_000 };

const calm: Measurement = {
  windowMs: 300_000,
  fsyncs: 1_000,
  fsyncP99Ms: 1,
  roundTripP99MsById: {},
  leaderChanges: 0,
  heartbeatFailures: 0,
  slowApplies: 0,
};

const names = ["n1", "n2", "n3"];

/** Three members that all run what is wanted; what each measures is the caller's. */
function reportsOf(
  running: EtcdTimers,
  measured: (name: string) => Partial<Measurement>,
): MemberReport[] {
  return names.map((name, index) => ({
    name,
    memberId: String(index + 1),
    running,
    measurement: { ...calm, ...measured(name) },
  }));
}

/** Looks every 10 s, as long as `forMs`; members take over what is wanted between two looks. */
function play(
  from: TimerState,
  forMs: number,
  measured: (name: string, atMs: number) => Partial<Measurement>,
): { state: TimerState; changes: { atMs: number; electionMs: number }[] } {
  let state = from;
  const changes: { atMs: number; electionMs: number }[] = [];
  for (let atMs = from.sinceMs + lookMs; atMs <= from.sinceMs + forMs; atMs += lookMs) {
    const reports = reportsOf(state.wanted, (name) => measured(name, atMs));
    const next = planTimers(state, { nowMs: atMs as MonotonicMs, reports, isComplete: true });
    if (next.wanted !== state.wanted) changes.push({ atMs, electionMs: next.wanted.electionMs });
    state = next;
  }
  return { state, changes };
}

const first = (wanted = etcdsOwn) => firstState({ wanted, why: "" }, 0 as MonotonicMs);

test("etcd's histograms become percentiles of the last minutes, and a process begun anew starts over", () => {
  const window = createWindow(60_000);
  const add = (atMs: number, fsyncs: Record<string, number>, startedS = 1) => {
    const text = etcdMetrics({ startedS, fsyncs, roundTrips: { a0: { "0.0064": 100 } } });
    const sample = parseSample(text);
    assert.ok(sample);
    window.add(sample, atMs as MonotonicMs);
  };
  add(0, { "0.128": 500 });
  assert.equal(window.measurement(), undefined);
  add(30_000, { "0.128": 500, "0.002": 100 });
  const measured = window.measurement();
  assert.equal(measured?.fsyncs, 100);
  assert.ok(measured.fsyncP99Ms !== undefined && measured.fsyncP99Ms < 2.01);
  assert.deepEqual(measured.roundTripP99MsById, {});
  add(90_000, { "0.128": 500, "0.002": 100, "0.032": 10 });
  assert.equal(window.measurement()?.windowMs, 60_000);
  assert.ok((window.measurement()?.fsyncP99Ms ?? 0) > 16);
  add(100_000, { "0.002": 1 }, 2);
  assert.equal(window.measurement(), undefined);
  assert.equal(parseSample("<html>"), undefined);
});

test("a slow disk or path makes elections slower at once, by as much as it asks for, and says why", () => {
  const cases: readonly [Partial<Measurement>, number, string][] = [
    [{ fsyncP99Ms: 60 }, 2_000, "the disk of n2 takes up to 60 ms"],
    [{ fsyncP99Ms: 400 }, 5_000, "the disk of n2 takes up to 400 ms"],
    [{ roundTripP99MsById: { 3: 150 } }, 2_000, "the round trip from n2 to n3"],
    // Leadership is local: only votes wait for the witness.
    [{ roundTripP99MsById: { 9: 150 } }, 1_000, ""],
    [{ roundTripP99MsById: { 9: 500 } }, 2_000, "to the witness"],
    [{ fsyncP99Ms: 60, fsyncs: 3 }, 1_000, ""],
    [{ fsyncP99Ms: 60, windowMs: 30_000 }, 1_000, ""],
  ];
  for (const [measured, electionMs, words] of cases) {
    const { state } = play(first(), lookMs, (name) => (name === "n2" ? measured : {}));
    assert.equal(state.wanted.electionMs, electionMs, JSON.stringify(measured));
    assert.ok(state.why.includes(words), state.why);
  }
});

test("elections that nothing asked for make it slower by a step; one, a restart or a rollout does not", () => {
  const flapping = () => ({ leaderChanges: 2 });
  const { changes } = play(first(), 400_000, flapping);
  assert.deepEqual(
    changes.map(({ electionMs }) => electionMs),
    [2_000],
  );
  assert.ok((changes[0]?.atMs ?? 0) >= 300_000, "only when all members ran on for a whole window");
  assert.deepEqual(play(first(), hourMs, () => ({ leaderChanges: 1 })).changes, []);
  const restarted = (name: string) => ({
    leaderChanges: 3,
    windowMs: name === "n1" ? 20_000 : 300_000,
  });
  assert.deepEqual(play(first(), hourMs, restarted).changes, []);
});

test("faster comes after an hour without an objection, a step an hour, down to the fastest", () => {
  const { changes } = play(first(), 5 * hourMs, () => ({}));
  assert.deepEqual(
    changes.map(({ electionMs }) => electionMs),
    [500, 300],
  );
  assert.ok((changes[0]?.atMs ?? 0) >= hourMs);
  assert.ok((changes[1]?.atMs ?? 0) - (changes[0]?.atMs ?? 0) >= hourMs);
  // One bad look in each hour, of whatever kind.
  for (const bad of [
    { fsyncP99Ms: 15 },
    { leaderChanges: 1 },
    { heartbeatFailures: 6 },
    { fsyncs: 2 },
    { windowMs: 1_000 },
  ]) {
    const { changes: none } = play(first(), 5 * hourMs, (name, atMs) =>
      name === "n3" && atMs % (hourMs - lookMs) === 0 ? bad : {},
    );
    assert.deepEqual(none, [], JSON.stringify(bad));
  }
});

test("a silent member keeps everything from getting faster, and nothing from getting slower", () => {
  let state = first();
  for (let atMs = lookMs; atMs < 3 * hourMs; atMs += lookMs) {
    const reports = reportsOf(etcdsOwn, () => ({})).slice(1);
    state = planTimers(state, { nowMs: atMs as MonotonicMs, reports, isComplete: false });
  }
  assert.deepEqual(state.wanted, etcdsOwn);
  const reports = reportsOf(etcdsOwn, () => ({ fsyncP99Ms: 60 })).slice(1);
  state = planTimers(state, { nowMs: state.sinceMs, reports, isComplete: false });
  assert.equal(state.wanted.electionMs, 2_000);
});

test("a disk that is slow again and again is tried after one hour, two, four, …: no flapping", () => {
  // Well below 500 ms of election while that is not tried, above it as soon as it is.
  let wanted = etcdsOwn;
  let state = first();
  const faster: number[] = [];
  for (let atMs = lookMs; atMs < 24 * hourMs; atMs += lookMs) {
    const reports = reportsOf(wanted, () => ({ fsyncP99Ms: wanted.electionMs < 1_000 ? 21 : 5 }));
    state = planTimers(state, { nowMs: atMs as MonotonicMs, reports, isComplete: true });
    if (state.wanted.electionMs < wanted.electionMs) faster.push(atMs);
    wanted = state.wanted;
  }
  const pauses = faster.slice(1).map((atMs, index) => (atMs - (faster[index] ?? 0)) / hourMs);
  assert.deepEqual(pauses.map(Math.floor), [2, 4, 8]);
});

test("whatever is measured: steps only, never faster within an hour of any change, slower as soon as asked", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = seededRandom(seed);
    let [level, changedMs, state] = [1, 0, first()];
    for (let atMs = lookMs; atMs < 24 * hourMs; atMs += lookMs) {
      if (random.float() < 0.002) level = 0.3 * 500 ** random.float();
      const leaderChanges = random.float() < 0.0005 ? 3 : 0;
      const reports = reportsOf(state.wanted, () => ({ fsyncP99Ms: level, leaderChanges }));
      const before = state.wanted.electionMs;
      state = planTimers(state, { nowMs: atMs as MonotonicMs, reports, isComplete: true });
      const now = state.wanted.electionMs;
      assert.ok(timerSteps.includes(state.wanted) || now === before);
      assert.ok(now >= Math.min(5_000, level * 25), `seed ${seed}: not slower at once`);
      if (now < before) assert.ok(atMs - changedMs >= hourMs, `seed ${seed}: faster too soon`);
      if (now !== before) changedMs = atMs;
    }
  }
});

test("at a first start a slow disk counts at once, a fast one not yet", () => {
  assert.deepEqual(timersAtStart(0.4, etcdsOwn), etcdsOwn);
  assert.equal(timersAtStart(70, etcdsOwn).electionMs, 2_000);
  assert.equal(timersAtStart(9_000, etcdsOwn).electionMs, 5_000);
});

test("etcd takes every step: an election of at least five heartbeats, at most 50 s", () => {
  for (const { heartbeatMs, electionMs } of timerSteps)
    assert.ok(electionMs >= 5 * heartbeatMs && electionMs <= 50_000);
});
