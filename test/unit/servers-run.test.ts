/** A change of the cell's servers while it is carried out: what it waits for, and for how long. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { runChange, type Change, type MembershipView } from "../../src/ledger/servers/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";

const n1 = {
  state: "here" as const,
  report: {
    node: "n1",
    role: "server" as const,
    etcdVersion: "3.4.23",
    peerUrl: "https://10.0.0.1:7447",
    memberId: "1000",
  },
};
const alone: MembershipView = {
  self: "n1",
  engine: "etcd",
  members: [
    {
      id: "1000",
      name: "n1",
      peerUrls: ["https://10.0.0.1:7447"],
      isLearner: false,
      answers: true,
      isLeader: true,
    },
  ],
  nodes: new Map([["n1", n1]]),
};
const withN2: MembershipView = {
  ...alone,
  nodes: new Map(alone.nodes).set("n2", {
    state: "silent",
    why: "it has joined, and not told of itself yet",
  }),
};

async function add(seenAfterMs: number) {
  const clock = createSimulatedClock();
  const told: string[] = [];
  const stop = new AbortController();
  const running = runChange(
    { clock, log: silentLog },
    {
      observe: async () => (clock.monotonicMs() < seenAfterMs ? alone : withN2),
      perform: async () => {},
    },
    { verb: "add", node: "n2" },
    { tell: (line) => told.push(line), signal: stop.signal },
  );
  const outcome = running.catch(() => "interrupted" as const);
  await clock.advance(11_000);
  stop.abort();
  await clock.advance(1000);
  return { told, outcome: await outcome };
}

test("L16: a machine that joined a moment ago is waited for before it is called unknown", async () => {
  const { told, outcome } = await add(2000);
  assert.equal(outcome, "interrupted", "it goes on waiting for its word");
  assert.deepEqual(told, [
    "waiting: n2 is not a node of this cell",
    "waiting: it has joined, and not told of itself yet",
  ]);
});

test("L16: a step is told of the change's node, whose name stands before each line already", async () => {
  const clock = createSimulatedClock();
  const told: string[] = [];
  const stop = new AbortController();
  const report = {
    ...n1.report,
    ...{ node: "n2", role: "worker" as const },
    ...{ peerUrl: "https://10.0.0.2:7447", memberId: undefined },
  };
  const nodes = new Map(alone.nodes).set("n2", { state: "here", report });
  const run = async (change: Change) => {
    const running = runChange(
      { clock, log: silentLog },
      { observe: async () => ({ ...alone, nodes }), perform: async () => {} },
      change,
      { tell: (line) => told.push(line), signal: stop.signal },
    ).catch(() => undefined);
    await clock.advance(1000);
    return running;
  };
  const running = [
    run({ verb: "add", node: "n2" }),
    run({ verb: "replace", node: "n7", by: "n2" }),
  ];
  await clock.advance(1000);
  stop.abort();
  await clock.advance(1000);
  await Promise.all(running);
  assert.deepEqual(told, [
    "adding it to the ledger, without a vote yet (https://10.0.0.2:7447)",
    "adding n2 to the ledger, without a vote yet (https://10.0.0.2:7447)",
  ]);
});

test("L16: one that stays unknown is refused, with what there is to do", async () => {
  const { outcome } = await add(60_000);
  assert.ok(typeof outcome === "object" && outcome.state === "refused");
  assert.match(outcome.message, /n2 is not a node of this cell/);
});
