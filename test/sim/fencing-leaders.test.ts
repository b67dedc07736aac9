/**
 * Two leaders at once, on a real ledger in virtual time: the old one's machine stands still in the
 * middle of its writes and goes on when another leads.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { deploymentKind, nodeKind, podKind, type Node } from "../../src/api/index.ts";
import { startControllers, type Verdicts } from "../../src/controllers/index.ts";
import { createCampaigns, type Campaign, type Ledger } from "../../src/ledger/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createLedgerResources, ensureNamespaces } from "../../src/resources/index.ts";
import { deploymentOf, isRolledOut } from "../support/controllers-cell.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { done } from "../support/resources.ts";

const quietly: Verdicts = {
  self: "n1",
  verdicts: () => new Map([["n1", { state: "alive" }]]),
  mayEvict: () => ({ allowed: true, because: "" }),
  tolerance: () => undefined,
  onChange: () => () => {},
};

/** A machine between a leader and the ledger that may stand still: what it sends waits, and is sent then. */
function createMachine(ledger: Ledger, pausesAt: number) {
  let gate = Promise.withResolvers<void>();
  gate.resolve();
  const outcomes: string[] = [];
  let sent = 0;
  const over: Ledger = {
    ...ledger,
    async get(key, options) {
      await gate.promise;
      return await ledger.get(key, options);
    },
    async list(prefix, options) {
      await gate.promise;
      return await ledger.list(prefix, options);
    },
    async renew(lease) {
      await gate.promise;
      return await ledger.renew(lease);
    },
    async transact(when, then) {
      const isObject = then.every(({ key }) => key.startsWith("/registry/"));
      if (isObject && ++sent === pausesAt) gate = Promise.withResolvers();
      await gate.promise;
      // Without the signal: what has left the machine is not called back.
      const outcome = await ledger.transact(when, then);
      if (isObject) outcomes.push(outcome.state);
      return outcome;
    },
    async *watch(prefix, options) {
      for await (const batch of ledger.watch(prefix, options)) {
        await gate.promise;
        yield batch;
      }
    },
  };
  return {
    over,
    /** Of the writes of objects, in order. */
    outcomes,
    stands: () => sent >= pausesAt,
    resume: () => gate.resolve(),
  };
}

async function lead(ledger: Ledger, clock: SimulatedClock, campaign: Campaign, seed: number) {
  const random = seededRandom(seed);
  const refused = new AbortController();
  const resources = createLedgerResources({ ledger, clock, random }).fenced({
    key: campaign.key,
    revision: campaign.fence,
    onLost: (error) => refused.abort(error),
  });
  const signal = AbortSignal.any([campaign.lost, refused.signal]);
  const deps = { resources, verdicts: quietly, clock, random, log: silentLog };
  const controllers = startControllers(deps, { signal });
  return { controllers, signal, refused: refused.signal };
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`R15, C18, L10: nothing that a usurped leader had under way is written, seed ${seed}`, async () => {
    await using folder = await temporaryFolder();
    const clock = createSimulatedClock();
    const random = seededRandom(seed);
    await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock, random });
    const plain = createLedgerResources({ ledger, clock, random });
    await ensureNamespaces(plain);
    const node: Node = {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1" },
      spec: {},
      status: { allocatable: { cpu: "64", memory: "64Gi", pods: "100" } },
    };
    done(await plain.create(nodeKind, node));
    // Somewhere in the middle of the rollout, with a write that has left.
    const machine = createMachine(ledger, 3 + random.integer(20));
    const standOn = (over: Ledger, id: string, isDead: (holder: string) => boolean) =>
      createCampaigns({ clock, random, log: silentLog }, over)("controllers", {
        id,
        ttlMs: 10_000,
        presumedDead: { is: isDead, onChange: () => () => {} },
      });
    const first = await standOn(machine.over, "s1", () => false);
    const old = await lead(machine.over, clock, first, seed);
    done(await plain.create(deploymentKind, deploymentOf("web", 20)));
    while (!machine.stands()) await clock.advance(1);
    const standing = standOn(ledger, "s2", (holder) => holder === "s1");
    let second: Campaign | undefined;
    standing.then(
      (campaign) => (second = campaign),
      () => {},
    );
    const isLed = () => second !== undefined;
    while (!isLed()) await clock.advance(1);
    assert.ok(second);
    const before = machine.outcomes.length;
    const next = await lead(ledger, clock, second, seed + 100);
    const isComplete = async () => {
      const found = await plain.get(deploymentKind, { namespace: "default", name: "web" });
      const { items } = await plain.list(podKind);
      for (const pod of items) {
        if (!pod.spec.nodeName || pod.status?.phase === "Running") continue;
        const lastTransitionTime = new Date(clock.wallMs()).toISOString();
        const conditions = [{ type: "Ready", status: "True", lastTransitionTime } as const];
        const status = { phase: "Running" as const, conditions };
        await plain.update(podKind, { ...pod, status }, { subresource: "status" });
      }
      return found !== undefined && isRolledOut(found);
    };
    const resumeAfter = random.integer(30);
    for (let round = 0; !(await isComplete()) || round <= resumeAfter; round++) {
      assert.ok(round < 2000, "the new leader completes the rollout");
      if (round === resumeAfter) machine.resume();
      await clock.advance(20);
    }
    await clock.advance(20);
    assert.ok(old.signal.aborted, "the old leader stopped");
    assert.equal(old.controllers.busy, 0);
    const late = machine.outcomes.slice(before);
    assert.deepEqual(
      late.filter((state) => state !== "refused"),
      [],
    );
    assert.ok(late.length > 0, "a write was under way");
    const { items } = await plain.list(podKind);
    assert.equal(items.length, 20, "no pod twice");
    assert.equal(next.signal.aborted, false);
    for (const { controllers } of [old, next]) {
      const stopping = controllers.stop();
      await clock.advance(10);
      await stopping;
    }
    await second.resign();
  });
}
