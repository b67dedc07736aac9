/** The nemesis' plan, its reading of histories, and its verdict over them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  parseHistory,
  readHistories,
  type ClientHistory,
} from "../../src/drill/checkers/history.ts";
import type { HistoryLine } from "../../src/drill/load/coordination.ts";
import { describeFault, planNemesis } from "../../src/drill/scripts/nemesis-plan.ts";
import { judgeNemesis, type NemesisSeen } from "../../src/drill/scripts/nemesis-verdict.ts";

const nodes = ["n1", "n2", "n3"];

test("the plan comes from the seed, has every kind of fault, leaves calm before and after", () => {
  const forMs = 600_000;
  for (const seed of [1, 2, 3, 4, 5]) {
    const plan = planNemesis({ seed, forMs, nodes, servers: 3 });
    assert.deepEqual(plan, planNemesis({ seed, forMs, nodes, servers: 3 }));
    const kinds = new Set(plan.map(({ fault }) => fault));
    assert.equal(kinds.size, 15, [...kinds].join());
    assert.ok(
      plan.every((step) => step.atMs >= forMs * 0.06 && step.atMs + step.forMs <= forMs * 0.86),
    );
    assert.ok(plan.every((step, index) => step.atMs >= (plan[index - 1]?.atMs ?? 0)));
    assert.ok(plan.every((step) => !describeFault(step).includes("undefined")));
  }
  assert.notDeepEqual(
    planNemesis({ seed: 1, forMs, nodes, servers: 3 }),
    planNemesis({ seed: 2, forMs, nodes, servers: 3 }),
  );
});

test("no machine has two faults at once, and nothing happens beside a restart of all", () => {
  for (let seed = 0; seed < 50; seed++) {
    const plan = planNemesis({ seed, forMs: 300_000, nodes, servers: 3 });
    for (const [index, step] of plan.entries())
      for (const later of plan
        .slice(index + 1)
        .filter(({ atMs }) => atMs < step.atMs + step.forMs)) {
        assert.notEqual(step.fault, "restart all");
        assert.notEqual(later.fault, "restart all");
        if ("node" in step && "node" in later) assert.notEqual(step.node, later.node);
      }
  }
});

test("a short run has faults too, and a cell without ledger processes none against them", () => {
  for (let seed = 0; seed < 20; seed++) {
    const plan = planNemesis({ seed, forMs: 15_000, nodes, servers: 1 });
    assert.ok(plan.length >= 2, `seed ${seed}`);
    assert.ok(plan.every(({ fault }) => fault !== "kill ledger" && fault !== "replace"));
  }
});

const lines: HistoryLine[] = [
  { line: "watch", after: 0 },
  { line: "call", id: 1, atMs: 10, call: { type: "write", key: "r/0", value: "1.1" } },
  { line: "answer", id: 1, atMs: 11, outcome: { state: "done", revision: 5 } },
  { line: "seen", revision: 5, events: [{ key: "r/0", value: "1.1" }] },
  { line: "call", id: 2, atMs: 12, call: { type: "create", key: "set/1/0", value: "1.2" } },
  { line: "answer", id: 2, atMs: 13, outcome: { state: "done", revision: 6 } },
  { line: "seen", revision: 6, events: [{ key: "set/1/0", value: "1.2" }] },
  { line: "call", id: 3, atMs: 14, call: { type: "acquire", lock: "l0" } },
  { line: "answer", id: 3, atMs: 15, outcome: { state: "done", revision: 7, token: 7 } },
  { line: "proof", id: 3, untilMs: 40 },
  {
    line: "call",
    id: 4,
    atMs: 16,
    call: { type: "guarded", lock: "l0", token: 7, key: "guarded/l0", value: "1.3" },
  },
  { line: "answer", id: 4, atMs: 17, outcome: { state: "done", revision: 8 } },
  { line: "seen", revision: 8, events: [{ key: "guarded/l0", value: "1.3" }] },
  { line: "let-go", id: 3, atMs: 20 },
  {
    line: "call",
    id: 5,
    atMs: 21,
    call: { type: "cas", key: "r/0", expected: "1.1", value: "1.4" },
  },
];
const written = (all: readonly HistoryLine[]) =>
  all.map((line) => `${JSON.stringify(line)}\n`).join("");

test("a history that SIGKILL cut in the middle of a line is read up to there; what has no answer is unknown", () => {
  const text = `${written(lines)}{"line":"answer","id":5,"at`;
  const read = readHistories([{ client: 1, lines: parseHistory(text) }]);
  assert.deepEqual(read.outcomes, { done: 4, refused: 0, unknown: 1, failed: 0 });
  assert.deepEqual(
    read.registers.map(({ type, answeredAt }) => [type, answeredAt]),
    [
      ["write", 11],
      ["cas", undefined],
    ],
  );
  assert.deepEqual(
    read.holds.map(({ token, provedUntil }) => [token, provedUntil]),
    [[7, 20]],
  );
  assert.deepEqual(
    read.watches.map(({ after, upTo }) => [after, upTo]),
    [[0, 8]],
  );
  assert.equal(read.acknowledged.length, 3);
});

const seen = (
  history: readonly ClientHistory[],
  change: Partial<NemesisSeen> = {},
): NemesisSeen => ({
  seed: 1,
  forMs: 1000,
  slowness: 1,
  histories: readHistories(history),
  lastReads: [{ client: -1, key: "r/0", calledAt: 90, answeredAt: 91, type: "read", value: "1.4" }],
  stored: nodes.map((node) => ({ node, items: [{ key: "set/1/0", value: "1.2", version: 1 }] })),
  faults: [{ atMs: 1, fault: "cut n1" }],
  planned: 1,
  writesBackMs: 100,
  ...change,
});
const more = Array.from({ length: 3 }, (_, index): HistoryLine[] => {
  const [hold, write] = [100 + index * 2, 101 + index * 2];
  const token = 20 + index * 2;
  return [
    { line: "call", id: hold, atMs: 50 + index * 4, call: { type: "acquire", lock: "l0" } },
    { line: "answer", id: hold, atMs: 51 + index * 4, outcome: { state: "done", token } },
    {
      line: "call",
      id: write,
      atMs: 52 + index * 4,
      call: { type: "guarded", lock: "l0", token, key: "guarded/l0", value: `2.${index}` },
    },
    {
      line: "answer",
      id: write,
      atMs: 53 + index * 4,
      outcome: { state: "done", revision: token + 1 },
    },
  ];
}).flat();
const good: ClientHistory = { client: 1, lines: [...lines, ...more] };
const broken = (input: NemesisSeen) =>
  judgeNemesis(input)
    .report.promises.filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("the verdict over a good history is good", () => {
  assert.deepEqual(broken(seen([good])), []);
});

test("each planted bug breaks its own promise", () => {
  const without = (id: string, change: Partial<NemesisSeen>) =>
    assert.deepEqual(broken(seen([good], change)), [id]);
  without("N1", {
    lastReads: [
      { client: -1, key: "r/0", calledAt: 90, answeredAt: 91, type: "read", value: undefined },
    ],
  });
  without("N2", { stored: [...seen([good]).stored.slice(1), { node: "n1", items: [] }] });
  without("N3", {
    stored: [{ node: "n1", items: [{ key: "set/1/0", value: "1.2", version: 2 }] }],
  });
  without("N4", {
    stored: [
      {
        node: "n1",
        items: [
          { key: "set/1/0", value: "1.2", version: 1 },
          { key: "set/9/9", value: "?", version: 1 },
        ],
      },
    ],
  });
  without("N8", { writesBackMs: undefined });
  without("N9", { faults: [] });
  const double: HistoryLine[] = [
    { line: "call", id: 1, atMs: 14, call: { type: "acquire", lock: "l0" } },
    { line: "answer", id: 1, atMs: 18, outcome: { state: "done", token: 9 } },
    { line: "proof", id: 1, untilMs: 45 },
  ];
  assert.deepEqual(broken(seen([good, { client: 2, lines: double }])), ["N5"]);
  const late: HistoryLine[] = [
    {
      line: "call",
      id: 1,
      atMs: 80,
      call: { type: "guarded", lock: "l0", token: 7, key: "guarded/l0", value: "3.1" },
    },
    { line: "answer", id: 1, atMs: 81, outcome: { state: "done", revision: 40 } },
  ];
  assert.deepEqual(broken(seen([good, { client: 3, lines: late }])), ["N6"]);
  const blind = lines.filter((line) => line.line !== "seen" || line.revision !== 6);
  assert.deepEqual(broken(seen([{ client: 1, lines: [...blind, ...more] }])), ["N7"]);
});

test("what was not measured is not held", () => {
  const nothing = seen([], {
    lastReads: [],
    stored: [{ node: "n1" }],
    faults: [],
    writesBackMs: undefined,
  });
  assert.deepEqual(broken(nothing), ["N1", "N2", "N3", "N4", "N8", "N9", "N10", "N11", "N12"]);
});
