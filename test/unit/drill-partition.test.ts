/** What may run once only: when it ran, when two did, and what the partition drill makes of it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { fencedWrites, overlaps, spansOf } from "../../src/drill/checkers/singletons.ts";
import type { SingletonLine, SingletonPod } from "../../src/drill/load/singleton.ts";
import {
  judgePartition,
  type Cut,
  type PartitionSeen,
  type Paused,
} from "../../src/drill/scripts/partition-verdict.ts";

const beats = (...spans: readonly [number, number][]): SingletonLine[] =>
  spans.flatMap(([fromMs, toMs]) =>
    Array.from({ length: Math.floor((toMs - fromMs) / 20) + 1 }, (_, i): SingletonLine => ({
      line: "beat",
      atMs: fromMs + i * 20,
    })),
  );
const pod = (name: string, node: string, lines: SingletonLine[]): SingletonPod => ({
  pod: name,
  node,
  lines,
});
const writes = (
  token: number,
  fromMs: number,
  count: number,
  outcome: "done" | "refused" = "done",
) =>
  Array.from({ length: count }, (_, i): SingletonLine => ({
    line: "write",
    calledAt: fromMs + i * 10,
    answeredAt: fromMs + i * 10 + 5,
    token,
    outcome,
  }));

test("a paused pod did not run in its pause; two that beat at one time ran together", () => {
  const paused = pod("a", "n1", beats([0, 1000], [9000, 9100]));
  assert.deepEqual(spansOf(paused), [
    { fromMs: 0, toMs: 1000 },
    { fromMs: 9000, toMs: 9100 },
  ]);
  assert.deepEqual(overlaps([paused, pod("b", "n2", beats([2000, 8000]))]), []);
  assert.deepEqual(overlaps([paused, pod("b", "n2", beats([500, 9040]))]), [
    { fromMs: 500, toMs: 1000 },
    { fromMs: 9000, toMs: 9040 },
  ]);
});

test("a write of a paused pod that gets through after its successor has the lock is found", () => {
  const next: SingletonLine[] = [{ line: "lock", calledAt: 4000, answeredAt: 5000, token: 9 }];
  const old = (outcome: "done" | "refused") => pod("a", "n1", writes(4, 6000, 1, outcome));
  assert.deepEqual(fencedWrites([old("refused"), pod("b", "n2", next)]), []);
  assert.equal(fencedWrites([old("done"), pod("b", "n2", next)]).length, 1);
});

const cut: Cut = {
  fault: "cut n1 off",
  atMs: 1000,
  node: "n1",
  fromMs: 10_000,
  endedMs: 40_000,
  next: "b",
  before: new Map([["uid", '{"web":1}']]),
  after: new Map([["uid", '{"web":1}']]),
  minorityWrites: [{ atMs: 1, tookMs: 10, failure: "quorum-lost: no majority" }],
  majorityWritesMs: 900,
  keepReplacedMs: 2500,
};
const paused: Paused = {
  fault: "pause n2",
  atMs: 50_000,
  node: "n2",
  pod: "b",
  fromMs: 60_000,
  thawedMs: 90_000,
  next: "c",
};
const good = [
  pod("a", "n1", [...beats([0, 20_000]), ...writes(4, 100, 30)]),
  pod("b", "n2", [...beats([26_000, 60_000], [90_000, 90_200]), ...writes(9, 27_000, 30)]),
  pod("c", "n3", [...beats([78_000, 120_000]), ...writes(12, 79_000, 30)]),
];
const seen = (more: Partial<PartitionSeen> = {}): PartitionSeen => ({
  seed: 1,
  forMs: 120_000,
  slowness: 1,
  nodes: [],
  requests: { samples: [] },
  entries: { acknowledged: 0, resent: 0 },
  check: { acknowledged: 0, views: [] },
  faults: [],
  outages: [],
  ttlMs: 10_000,
  pods: good,
  cut,
  paused,
  podsOff: 0,
  ...more,
});
/** Of the drill's own promises. */
const broken = (more: Partial<PartitionSeen>) =>
  judgePartition(seen(more))
    .report.promises.filter(({ id, ok }) => !ok && /^[PR]\d/.test(id))
    .map(({ id }) => id);

test("a partition and a pause that went well hold every promise", () => {
  assert.deepEqual(broken({}), []);
});

test("each promise breaks by what it is there for", () => {
  const [a, b, c] = good as [SingletonPod, SingletonPod, SingletonPod];
  const lives = (toMs: number) => pod("a", "n1", [...beats([0, toMs]), ...writes(4, 100, 30)]);
  assert.deepEqual(broken({ pods: [lives(26_100), b, c] }), ["P1", "P2"]);
  assert.deepEqual(broken({ pods: [lives(23_000), b, c] }), ["P2"]);
  assert.deepEqual(broken({ cut: { ...cut, next: undefined } }), ["P2", "P3"]);
  assert.deepEqual(broken({ cut: { ...cut, after: new Map() } }), ["P4"]);
  assert.deepEqual(broken({ cut: { ...cut, before: new Map() } }), ["P4"]);
  assert.deepEqual(broken({ cut: { ...cut, keepReplacedMs: undefined } }), ["P5"]);
  assert.deepEqual(broken({ cut: { ...cut, minorityWrites: [{ atMs: 1, tookMs: 1 }] } }), ["P6"]);
  assert.deepEqual(broken({ cut: { ...cut, minorityWrites: [] } }), ["P6"]);
  assert.deepEqual(broken({ cut: { ...cut, majorityWritesMs: undefined } }), ["P7"]);
  assert.deepEqual(broken({ paused: { ...paused, next: undefined } }), ["P8", "P9"]);
  const stays = pod("b", "n2", [
    ...beats([26_000, 60_000], [90_000, 99_000]),
    ...writes(9, 27_000, 30),
  ]);
  assert.deepEqual(broken({ pods: [a, stays, c] }), ["P9"]);
  const late = pod("b", "n2", [...b.lines, ...writes(9, 90_050, 1)]);
  assert.deepEqual(broken({ pods: [a, late, c] }), ["P10"]);
  assert.deepEqual(
    broken({
      pods: good.map((one) => ({ ...one, lines: one.lines.filter(({ line }) => line === "beat") })),
    }),
    ["P11"],
  );
  assert.deepEqual(broken({ podsOff: 1 }), ["R3"]);
});
