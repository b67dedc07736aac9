/**
 * Rule E and rule F (`keep`) from beats to pods, in virtual time. A failure names its seed: run this
 * file again with SEEDS=that.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  evictionsHeldCondition,
  flappingCondition,
  phasesAnnotation,
} from "../../src/controllers/index.ts";
import { podIsReady, type Pod } from "../../src/api/index.ts";
import { deploymentOf } from "../support/controllers-cell.ts";
import { openFailoverCell, type FailoverCell } from "../support/failover-cell.ts";

const seeds = (process.env["SEEDS"] ?? "1,2").split(",").map(Number);

const uidsOf = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata.uid ?? "").sort();
const readyOn = (pods: readonly Pod[], nodes: readonly string[]) =>
  pods.filter((pod) => podIsReady(pod) && nodes.includes(pod.spec.nodeName ?? ""));

/** Three nodes, two pods on each. */
async function settled(seed: number, replicas = 6): Promise<FailoverCell> {
  const cell = await openFailoverCell({ seed, nodes: 3 });
  // Nothing is placed on nodes that were not heard of yet.
  await cell.advance(5000);
  await cell.control.apply(deploymentOf("web", replicas));
  await cell.control.until("all pods to be ready", async () => {
    const pods = await cell.control.pods();
    return pods.length === replicas && pods.every(podIsReady);
  });
  await cell.advance(5000);
  return cell;
}

/** The survivors alone carry all pods. */
const replaced = (cell: FailoverCell, survivors: readonly string[], count = 6) =>
  cell.control.until(
    "the replacement",
    async () => readyOn(await cell.control.pods(), survivors).length === count,
  );

const gone = (cell: FailoverCell, count = 6) =>
  cell.control.until("the surplus to go", async () => {
    const pods = await cell.control.pods();
    return pods.length === count && pods.every(podIsReady);
  });

for (const seed of seeds) {
  test(`C14: a loss is two events with its phases, its return a third, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const before = await cell.podsOn("n3");
    cell.network.killNode("n3");
    await replaced(cell, ["n1", "n2"]);
    const events = (await cell.events("n3")).filter(
      ({ reason }) => reason !== "NodeReady" && reason !== "NotHeardYet",
    );
    assert.deepEqual(events.map(({ reason, count }) => `${reason} ${count}`).sort(), [
      "NodeUnreachable 1",
      "PodsReplaced 1",
    ]);
    const [lost, done] = ["NodeUnreachable", "PodsReplaced"].map((reason) =>
      events.find((event) => event.reason === reason),
    );
    assert.equal(
      lost?.message,
      "n3 unreachable for 1.5 s to n1 and n2; 2 pods being replaced: this server reaches 2 of 3 nodes",
    );
    assert.match(
      done?.message ?? "",
      /^n3 unreachable for 1\.5 s to n1 and n2; its 2 pods replaced on n1, n2: decided \d+ ms, scheduled \d+ ms, started \d+ ms, routed \d+ ms$/,
    );
    const phases = JSON.parse(done?.metadata.annotations?.[phasesAnnotation] ?? "{}") as Record<
      string,
      number
    >;
    const { decidedMs = -1, scheduledMs = -1, startedMs = -1, routedMs = -1, pods } = phases;
    assert.equal(pods, 2);
    assert.ok(0 <= decidedMs && decidedMs <= scheduledMs, JSON.stringify(phases));
    assert.ok(scheduledMs <= startedMs && startedMs <= routedMs, JSON.stringify(phases));
    for (const pod of await cell.control.pods())
      assert.deepEqual(
        (await cell.events(pod.metadata.name)).filter(({ type }) => type === "Warning"),
        [],
        "one event for the node, none for each pod",
      );

    cell.network.startNode("n3");
    await gone(cell);
    assert.deepEqual(uidsOf(await cell.podsOn("n3")), uidsOf(before), "the survivors stay");
    const back = (await cell.events("n3")).find(({ message }) => message?.includes("is back"));
    assert.match(back?.message ?? "", /^n3 is back after .+; its 2 pods count again/);
  });

  test(`C17, M10: a pause of a machine or an agent, shorter than what is tolerated, replaces nothing, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const before = uidsOf(await cell.control.pods());
    const { random } = cell.network;
    for (let pause = 0; pause < 10; pause++) {
      // A beat may be as old as its period when the pause begins.
      cell.network.freezeNode("n3");
      await cell.advance(200 + random.float() * 900);
      cell.network.thawNode("n3");
      await cell.advance(500 + random.float() * 2000);
      cell.network.pauseAgent("n2");
      await cell.advance(1000 + random.float() * 10_000);
      cell.network.resumeAgent("n2");
      await cell.advance(500 + random.float() * 2000);
    }
    assert.deepEqual(uidsOf(await cell.control.pods()), before);
    assert.deepEqual(
      cell.network.verdicts.filter(({ verdict }) => verdict.state === "unreachable"),
      [],
      "M10",
    );
  });

  test(`C17: a silent direction replaces nothing, whichever it is, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const before = uidsOf(await cell.control.pods());
    for (const [from, to] of [
      ["n3", "n1"],
      ["n1", "n3"],
      ["n3", "n2"],
      ["n2", "n1"],
    ] as const) {
      cell.network.setLink(from, to, false);
      await cell.advance(20_000);
      assert.equal(
        cell.network.membership("n1").mayEvict(from === "n1" ? to : from).allowed,
        false,
      );
      cell.network.setLink(from, to, true);
      await cell.advance(5000);
    }
    assert.deepEqual(uidsOf(await cell.control.pods()), before);
  });

  test(`C15, M5: a sole server that is cut off holds all evictions and says so; the hub's word lifts that, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const before = uidsOf(await cell.control.pods());
    cell.network.isolate("n1", true);
    await cell.advance(60_000);
    assert.deepEqual(uidsOf(await cell.control.pods()), before);
    for (const node of ["n2", "n3"]) {
      const held = await cell.condition(node, evictionsHeldCondition);
      assert.equal(held?.status, "True");
      assert.match(held?.message ?? "", /reaches 1 of 3 nodes.*may be this server that is cut off/);
      const events = (await cell.events(node)).filter(({ reason }) => reason === "EvictionsHeld");
      assert.equal(events.length, 1);
      assert.match(events[0]?.message ?? "", /2 pods not replaced: this server reaches 1 of 3/);
    }
    cell.network.isolate("n1", false);
    await cell.advance(10_000);
    assert.equal((await cell.condition("n3", evictionsHeldCondition))?.status, "False");
    assert.deepEqual(uidsOf(await cell.control.pods()), before);

    cell.network.killNode("n2");
    cell.network.killNode("n3");
    await cell.advance(20_000);
    assert.deepEqual(uidsOf(await cell.control.pods()), before);
    // The hub answers this server and has not heard the others since they fell silent.
    cell.network.membership("n1").onHubContact({});
    await cell.advance(5000);
    assert.equal(readyOn(await cell.control.pods(), ["n1"]).length, 6);
    assert.equal((await cell.condition("n3", evictionsHeldCondition))?.status, "False");
  });

  test(`C16, M6: a node that flaps is tolerated ever longer, and says so, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const created = new Set(uidsOf(await cell.control.pods()));
    for (let flap = 0; flap < 6; flap++) {
      cell.network.isolate("n3", true);
      await cell.advance(2500);
      cell.network.isolate("n3", false);
      for (const uid of uidsOf(await cell.control.pods())) created.add(uid);
      await cell.advance(15_000);
      for (const uid of uidsOf(await cell.control.pods())) created.add(uid);
    }
    assert.equal(
      created.size,
      6 + 2 * 2,
      "the third silence of 2.5 s and later ones are tolerated",
    );
    const flapping = await cell.condition("n3", flappingCondition);
    assert.equal(flapping?.status, "True");
    assert.match(
      flapping?.message ?? "",
      /2 times within ten minutes: silent for 3 s instead of 1.5 s/,
    );
    const told = (await cell.events("n3")).filter(({ reason }) => reason === "NodeFlapping");
    assert.equal(told.length, 1);
    cell.network.isolate("n3", true);
    await replaced(cell, ["n1", "n2"]);
    const lost = (await cell.events("n3")).filter(({ message }) => message?.includes("flapped 2"));
    assert.ok(lost.some(({ message }) => message?.startsWith("n3 unreachable for 3 s")));
  });

  test(`C17, C3: a node back before its pods are replaced changes nothing; back afterwards its pods stay, seed ${seed}`, async () => {
    await using cell = await settled(seed);
    const before = uidsOf(await cell.control.pods());
    // Nobody can start anything meanwhile: the verdict falls, the replacements wait.
    cell.control.becomesReady = () => false;
    cell.network.isolate("n3", true);
    await cell.control.until("the decision", async () => (await cell.control.pods()).length === 8);
    cell.network.isolate("n3", false);
    await cell.advance(200);
    cell.control.becomesReady = (pod) => before.includes(pod.metadata.uid ?? "");
    await gone(cell);
    assert.deepEqual(uidsOf(await cell.control.pods()), before);

    cell.control.becomesReady = () => true;
    await cell.advance(5000);
    cell.network.isolate("n3", true);
    await replaced(cell, ["n1", "n2"]);
    cell.network.isolate("n3", false);
    await gone(cell);
    assert.deepEqual(
      uidsOf(await cell.control.pods()),
      before,
      "what survived outlives its replacement",
    );
  });
}
