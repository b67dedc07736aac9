/** What the drills conclude of lost machines: a promise that was not measured, or only nearly held, broke. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { PromiseResult } from "../../src/drill/drill.ts";
import type { RequestSample } from "../../src/drill/load/requests.ts";
import {
  lossPromises,
  replacementMs,
  type Loss,
  type LossesSeen,
} from "../../src/drill/scripts/loss-verdict.ts";
import {
  serverPromises,
  type Attempt,
  type ServerLossSeen,
} from "../../src/drill/scripts/server-verdict.ts";
import { chooseVictim } from "../../src/drill/scripts/victims.ts";
import {
  endOutages,
  failedThroughLiving,
  ingressBackPromise,
  type Seen,
} from "../../src/drill/scripts/verdict.ts";
import { seededRandom } from "../../src/lib/random.ts";

const nodes = ["n1", "n2", "n3"];
const fromMs = 1_000_000;
const replacedAtMs = fromMs + 2500;
const returnedMs = fromMs + 6000;
const loss: Loss = {
  node: "n2",
  fault: "cut and kill n2",
  atMs: 5000,
  fromMs,
  returnedMs,
  podsBefore: [
    { name: "old-1", node: "n3" },
    { name: "old-2", node: "n2" },
  ],
};

/** Every 15 ms one request through each ingress, from 5 s before the loss until 10 s after. */
function samplesOf(
  of: (node: string, atMs: number) => Partial<RequestSample> = () => ({}),
): RequestSample[] {
  return Array.from({ length: 1000 }, (_, i) => fromMs - 5000 + i * 15).flatMap((atMs) =>
    nodes.map((target): RequestSample => {
      const away = target === "n2" && atMs >= fromMs && atMs < returnedMs + 1000;
      const by = atMs >= replacedAtMs && (atMs / 15) % 2 < 1 ? "new" : "old-1";
      const usual = away ? { failure: "no answer within 2000 ms", tookMs: 2000 } : { by };
      return { target, atMs, tookMs: 4, ...usual, ...of(target, atMs) };
    }),
  );
}

const seenOf = (samples: RequestSample[], more: Partial<Seen> = {}): Seen => ({
  seed: 1,
  forMs: 15_000,
  slowness: 1,
  nodes,
  requests: { samples },
  entries: { acknowledged: 0, resent: 0 },
  check: { acknowledged: 0, views: [] },
  faults: [],
  outages: [loss],
  ...more,
});

function losses(samples = samplesOf(), more: Partial<LossesSeen> = {}): LossesSeen {
  return {
    nodes,
    samples,
    losses: [loss],
    outages: endOutages(seenOf(samples)),
    podsOff: 0,
    ...more,
  };
}

const brokenIn = (promises: readonly PromiseResult[]) =>
  promises.filter(({ ok }) => !ok).map(({ id }) => id);
const broken = (seen: LossesSeen) => brokenIn(lossPromises(seen));

test("a replacement counts from the fault until it answered through the ingress without an old pod", () => {
  const measured = replacementMs(losses(), loss);
  assert.ok(measured >= 2500 && measured < 2600, `${measured}`);
  assert.deepEqual(broken(losses()), []);
});

test("a replacement that answers late or never, or an ingress that does not answer, is late", () => {
  const lateAt = (node: string, ms: number) =>
    samplesOf((target, atMs) => (target === node && atMs < fromMs + ms ? { by: "old-1" } : {}));
  assert.deepEqual(broken(losses(lateAt("n1", 3500))), ["R1"]);
  assert.deepEqual(broken(losses(lateAt("n1", 60_000))), ["R1"]);
  // The ingress beside an old pod need not reach the new one, but it has to answer.
  assert.deepEqual(broken(losses(lateAt("n3", 60_000))), []);
  const silent = samplesOf((target, atMs) =>
    target === "n3" && atMs >= fromMs && atMs < fromMs + 3500 ? { failure: "status 503" } : {},
  );
  assert.ok(broken(losses(silent)).includes("R1"));
  // A pod that ran before is no replacement.
  assert.deepEqual(broken(losses(samplesOf(() => ({ by: "old-2" })))), ["R1"]);
});

test("the lost node's own ingress is not asked for the replacement", () => {
  const seen = losses(samplesOf((target) => (target === "n2" ? { by: "old-1" } : {})));
  assert.ok(replacementMs(seen, loss) < 3000);
});

test("requests that drag through the others during the fault break R2, before and after they do not", () => {
  const slow = (from: number, to: number, target = "n3") =>
    samplesOf((node, atMs) =>
      node === target && atMs >= fromMs + from && atMs < fromMs + to ? { tookMs: 1500 } : {},
    );
  assert.deepEqual(broken(losses(slow(0, 200))), ["R2"]);
  assert.deepEqual(broken(losses(slow(3000, 3300))), ["R2"]);
  assert.deepEqual(broken(losses(slow(5000, 5300))), []);
  assert.deepEqual(broken(losses(slow(-4000, -3000))), []);
});

test("no loss, no outage and pods left over hold nothing", () => {
  assert.deepEqual(broken(losses([], { losses: [], outages: [] })), ["R1", "R2"]);
  assert.deepEqual(broken(losses(samplesOf(), { podsOff: 1 })), ["R3"]);
});

test("requests through the dead node are apart until its ingress is back, through others never", () => {
  const judge = (samples: RequestSample[]) =>
    failedThroughLiving(samples, endOutages(seenOf(samples))).length;
  assert.equal(judge(samplesOf()), 0);
  const failing = (node: string, ms: number) =>
    samplesOf((target, atMs) =>
      target === node && Math.abs(atMs - fromMs - ms) < 8 ? { failure: "status 502" } : {},
    );
  assert.equal(judge(failing("n3", 1000)), 1);
  assert.equal(judge(failing("n1", 9000)), 1);
});

test("an ingress that never answers again after its node was given back breaks R4", () => {
  const back = (samples: RequestSample[]) => ingressBackPromise(endOutages(seenOf(samples)));
  assert.equal(back(samplesOf()).ok, true);
  const never = samplesOf((target, atMs) =>
    target === "n2" && atMs >= fromMs ? { failure: "no answer within 2000 ms" } : {},
  );
  assert.equal(back(never).ok, false);
  const late = samplesOf((target, atMs) =>
    target === "n2" && atMs >= fromMs && atMs < returnedMs + 5500 && atMs % 45 !== 0
      ? { failure: "no answer within 2000 ms" }
      : {},
  );
  assert.equal(back(late).ok, false);
});

test("what fails when a node is taken away again is no echo of the first time", () => {
  const first = { ...loss, fromMs: fromMs - 4000, returnedMs: fromMs - 3000 };
  const failing = samplesOf((target, atMs) =>
    target === "n2" && atMs >= fromMs - 4000 && atMs < fromMs - 3000 ? { failure: "reset" } : {},
  );
  const ended = endOutages(seenOf(failing, { outages: [first, loss] }));
  assert.ok((ended[0]?.toMs ?? 0) < fromMs - 2900, `${ended[0]?.toMs}`);
});

const refused: Attempt = {
  atMs: fromMs + 10,
  tookMs: 900,
  failure: "ConfigMap drill: server-lost: no server",
};
const view = (name: string, more: object = {}) => ({
  name,
  found: 1,
  lost: 0,
  duplicated: 0,
  examples: [],
  completeAfterMs: 500,
  ...more,
});

/** 400 entries in every second that lies wholly inside the outage. */
const steady = Object.fromEntries(
  Array.from({ length: 6 }, (_, i) => [Math.ceil(fromMs / 1000) + i, 200]),
);

function serverSeen(more: Partial<ServerLossSeen> = {}): ServerLossSeen {
  const pods = new Map([["uid", '{"web":7}']]);
  return {
    lost: "server",
    outage: { ...loss, node: "n1", fault: "lose server n1" },
    others: ["n2", "n3"],
    writes: [refused, refused],
    reads: [{ atMs: fromMs + 10, tookMs: 20 }],
    before: pods,
    after: pods,
    meanwhile: { acknowledged: 100, views: ["n2", "n3", "hub"].map((name) => view(name)) },
    entries: { byNode: { n2: steady, n3: steady } },
    slowness: 1,
    samples: nodes.flatMap((target) => [{ target, atMs: fromMs + 100, tookMs: 4 }]),
    writesBackMs: 1200,
    ...more,
  };
}

const brokenServer = (more: Partial<ServerLossSeen>) => brokenIn(serverPromises(serverSeen(more)));

test("the loss of the server, seen whole and well, holds every promise", () => {
  assert.deepEqual(brokenServer({}), []);
});

test("a write that is accepted, times out or is refused in other words breaks S1, a slow one S2", () => {
  assert.deepEqual(brokenServer({ writes: [refused, { atMs: fromMs + 10, tookMs: 10 }] }), ["S1"]);
  assert.deepEqual(brokenServer({ writes: [refused, { ...refused, failure: "timeout" }] }), ["S1"]);
  assert.deepEqual(brokenServer({ writes: [refused, { ...refused, tookMs: 5001 }] }), ["S2"]);
  assert.deepEqual(brokenServer({ writes: [] }), ["S1", "S2"]);
});

test("a lost quorum has a moment to be concluded, in which a write may be unknown but not accepted", () => {
  const at = (ms: number, failure?: string): Attempt => ({
    atMs: fromMs + ms,
    tookMs: 900,
    ...(failure === undefined ? {} : { failure }),
  });
  const refusedThen = at(5100, "quorum-lost: too few");
  const lost = "quorum";
  assert.deepEqual(brokenServer({ lost, writes: [at(100, "unknown"), refusedThen] }), []);
  assert.deepEqual(brokenServer({ lost, writes: [at(5200, "unknown"), refusedThen] }), ["S1"]);
  assert.deepEqual(brokenServer({ lost, writes: [at(100), refusedThen] }), ["S1"]);
  assert.deepEqual(brokenServer({ lost, writes: [at(100, "quorum-lost")] }), ["S1"]);
});

test("reads, pods, acknowledgements, replication and the return each have a promise of their own", () => {
  assert.deepEqual(brokenServer({ reads: [{ atMs: fromMs, tookMs: 1, failure: "503" }] }), ["S3"]);
  assert.deepEqual(brokenServer({ reads: [] }), ["S3"]);
  assert.deepEqual(brokenServer({ after: new Map([["uid", '{"web":8}']]) }), ["S4"]);
  assert.deepEqual(brokenServer({ before: new Map(), after: new Map() }), ["S4"]);
  assert.deepEqual(brokenServer({ entries: { byNode: { n1: steady } } }), ["S5"]);
  for (const broke of [{ completeAfterMs: undefined }, { failure: "ECONNREFUSED" }]) {
    const views = [view("n2"), view("n3"), view("hub", broke)];
    assert.deepEqual(brokenServer({ meanwhile: { acknowledged: 100, views } }), ["S6"]);
  }
  assert.deepEqual(brokenServer({ meanwhile: { acknowledged: 100, views: [] } }), ["S6"]);
  assert.deepEqual(brokenServer({ samples: [] }), ["S7"]);
  assert.deepEqual(brokenServer({ writesBackMs: undefined }), ["S8"]);
});

test("nobody is lost a third time: a machine without a pod is chosen before, and gets one", () => {
  const workers = ["n2", "n3"];
  const choose = (withPod: readonly string[], times: Record<string, number>) =>
    chooseVictim({
      ...{ workers, withPod: new Set(withPod), dice: seededRandom(7) },
      timesByNode: new Map(Object.entries(times)),
    });
  assert.equal(choose(["n1", "n3"], { n3: 1 }), "n3");
  assert.equal(choose(["n2", "n3"], { n3: 1 }), "n2");
  assert.equal(choose(["n1", "n3"], { n3: 2 }), "n2");
  assert.equal(choose(["n1", "n3"], { n3: 2, n2: 1 }), "n2");
  assert.equal(choose(["n1"], { n2: 1 }), "n3");
  assert.throws(
    () =>
      chooseVictim({
        ...{ workers: [], withPod: new Set<string>() },
        timesByNode: new Map(),
        dice: seededRandom(7),
      }),
    {
      code: "drill-step-failed",
    },
  );
});
