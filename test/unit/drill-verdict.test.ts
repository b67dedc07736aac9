/** A promise that was not measured is not held. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { judgeQuick, type QuickSeen } from "../../src/drill/scripts/quick-verdict.ts";
import type { RequestSample } from "../../src/drill/load/requests.ts";

const nodes = ["n1", "n2", "n3"];
const startMs = 1_000_000;
const view = (name: string, more: object = {}) => ({
  name,
  found: 24_000,
  lost: 0,
  duplicated: 0,
  examples: [],
  completeAfterMs: 900,
  ...more,
});
const check = (...views: ReturnType<typeof view>[]) => ({ acknowledged: 24_000, views });
const allViews = () => [...nodes, "hub"].map((name) => view(name));

/** 200 requests a second, round robin; `failing` names when a node's ingress fails. */
function samplesOf(failing: (node: string, atMs: number) => boolean = () => false) {
  return Array.from({ length: 12_000 }, (_, i): RequestSample => {
    const target = nodes[i % nodes.length] ?? "";
    const atMs = startMs + i * 5;
    return failing(target, atMs)
      ? { atMs, target, tookMs: 3, failure: "ECONNREFUSED" }
      : { atMs, target, tookMs: 3 };
  });
}

const outage = { node: "n2", fault: "kill agent n2", atMs: 30_000, fromMs: startMs + 30_000 };
const duringOutage = (node: string, atMs: number) =>
  node === "n2" && atMs >= outage.fromMs && atMs < outage.fromMs + 1200;

const pods = new Map([["uid", '{"main":7}']]);
const seen = (more: Partial<QuickSeen> = {}): QuickSeen => ({
  seed: 1,
  forMs: 60_000,
  slowness: 1,
  nodes,
  requests: { samples: samplesOf(duringOutage) },
  entries: { acknowledged: 24_000, resent: 2400 },
  atCut: check(view("hub", { lost: 5000, completeAfterMs: undefined })),
  atHeal: check(view("hub")),
  check: check(...allViews()),
  before: pods,
  after: pods,
  faults: [{ atMs: 7000, fault: "cut WAN" }],
  outages: [outage],
  agents: [outage.fault],
  ...more,
});

const broken = (more: Partial<QuickSeen>) =>
  judgeQuick(seen(more))
    .report.promises.filter(({ ok }) => !ok)
    .map(({ id }) => id)
    .sort();

test("a run in which all was seen and well holds every promise", () => {
  const { report } = judgeQuick(seen());
  assert.deepEqual(
    report.promises.filter(({ ok }) => !ok),
    [],
  );
  assert.ok(report.ok);
  const killed = report.faults.find(({ fault }) => fault === "kill agent n2");
  assert.ok(killed?.recoveredMs !== undefined && killed.recoveredMs >= 1200);
});

test("what was not measured is not held", () => {
  const unread = (name: string) =>
    check(
      ...allViews().map((one) =>
        one.name === name ? { ...one, failure: "ECONNREFUSED", found: 0 } : one,
      ),
    );
  assert.deepEqual(broken({ check: unread("n3") }), ["D1", "D2"]);
  assert.deepEqual(broken({ check: unread("hub") }), ["D1", "D2", "D4"]);
  assert.deepEqual(broken({ check: check(...allViews().slice(1)) }), ["D1", "D2"]);
  assert.deepEqual(broken({ atHeal: check(view("hub", { completeAfterMs: undefined })) }), ["D5"]);
  assert.deepEqual(broken({ atHeal: check() }), ["D5"]);
  assert.deepEqual(broken({ atCut: check(view("hub")) }), ["D6"]);
  assert.deepEqual(broken({ atCut: check(view("hub", { lost: 9, failure: "gone" })) }), ["D6"]);
  assert.deepEqual(broken({ outages: [], requests: { samples: samplesOf() } }), ["A3"]);
  assert.deepEqual(broken({ before: new Map(), after: new Map() }), ["A4"]);
  assert.deepEqual(
    broken({
      entries: { acknowledged: 0, resent: 0 },
      check: { ...check(...allViews()), acknowledged: 0 },
    }),
    ["D3", "D7"],
  );
  assert.deepEqual(broken({ requests: { samples: [] } }), ["A2", "A3", "A5"]);
});

test("a node without a single answered request is not one that answered all", () => {
  const samples = samplesOf(duringOutage).filter(({ target }) => target !== "n3");
  assert.deepEqual(broken({ requests: { samples } }), ["A2", "A5"]);
});

test("failures count against the node they went through, unless its agent was away", () => {
  const failing = (from: number, to: number, target: string) => (node: string, atMs: number) =>
    duringOutage(node, atMs) || (node === target && atMs >= startMs + from && atMs < startMs + to);
  const judge = (...at: Parameters<typeof failing>) =>
    broken({ requests: { samples: samplesOf(failing(...at)) } });
  assert.deepEqual(judge(30_000, 30_100, "n3"), ["A1"]);
  assert.deepEqual(judge(45_000, 45_100, "n2"), ["A1"]);
  // It came back and failed again: that is no recovery.
  assert.deepEqual(judge(34_000, 34_100, "n2"), ["A3"]);
  assert.deepEqual(judge(30_000, 60_000, "n2"), ["A3"]);
});

test("pods that changed, went or came are named", () => {
  assert.deepEqual(broken({ after: new Map([["uid", '{"main":8}']]) }), ["A4"]);
  assert.deepEqual(broken({ after: new Map() }), ["A4"]);
  assert.deepEqual(broken({ after: new Map([...pods, ["new", '{"main":9}']]) }), ["A4"]);
});
