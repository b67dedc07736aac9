/** Seeded simulations of whole cells. A failure names its seed: run this file again with SEEDS=that. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createVirtualCell, type VirtualCell } from "../support/membership-cell.ts";

const seeds = (process.env["SEEDS"] ?? "1,2,3,4,5,6,7,8,9,10,11,12").split(",").map(Number);

/** Last sign of life may travel 20 ms; then 1.5 s of silence, then up to one tick. */
const judgedWithinMs = 20 + 1500 + 250;

async function settled(options: Parameters<typeof createVirtualCell>[0]): Promise<VirtualCell> {
  const cell = createVirtualCell(options);
  await cell.clock.advance(2000);
  for (const observer of cell.names)
    for (const node of cell.names) assert.equal(cell.state(observer, node), "alive");
  return cell;
}

const condemnations = (cell: VirtualCell) =>
  cell.verdicts.filter(({ verdict }) => verdict.state === "unreachable");

test("M1: a deaf link in one direction condemns nobody, and is told as that link's fault", async () => {
  for (const seed of seeds) {
    const cell = await settled({ nodes: 3, seed });
    cell.setLink("n2", "n1", false);
    await cell.clock.advance(10_000);
    assert.deepEqual(condemnations(cell), [], `seed ${seed}`);
    const verdict = cell.membership("n1").verdicts().get("n2");
    assert.equal(verdict?.state, "link-down");
    assert.deepEqual(verdict?.state === "link-down" && verdict.heardBy, ["n3"]);
    assert.equal(cell.state("n2", "n1"), "alive");
    assert.equal(cell.membership("n1").mayEvict("n2").allowed, false);
    cell.stop();
  }
});

test("M2: a dead node is unreachable to every survivor within 1.5 s and a tick, with witnesses, and may be evicted", async () => {
  for (const seed of seeds) {
    const cell = await settled({ nodes: 5, seed });
    await cell.clock.advance(cell.random.float() * 1000);
    const diedMs = cell.clock.monotonicMs();
    cell.killNode("n4");
    await cell.clock.advance(judgedWithinMs);
    for (const observer of ["n1", "n2", "n3", "n5"]) {
      const record = condemnations(cell).find((entry) => entry.observer === observer);
      assert.equal(record?.node, "n4", `seed ${seed}, observer ${observer}`);
      assert.ok(record.atMs - diedMs <= judgedWithinMs);
      assert.ok(record.verdict.state === "unreachable" && record.verdict.witnesses.length === 3);
      assert.equal(cell.membership(observer).mayEvict("n4").allowed, true);
    }
    const flickers = cell.verdicts.filter(
      ({ atMs, verdict }) => atMs >= diedMs && verdict.state !== "unreachable",
    );
    assert.deepEqual(flickers, [], `seed ${seed}: a death must not look like a broken link first`);
    cell.stop();
  }
});

test("M3: an agent that is down is told from a dead machine, and from a cut-off one", async () => {
  for (const seed of seeds) {
    const cell = await settled({ nodes: 3, seed });
    cell.stopAgent("n2");
    await cell.clock.advance(5000);
    const verdict = cell.membership("n1").verdicts().get("n2");
    assert.ok(verdict?.state === "agent-down" && verdict.forMs > 4000, `seed ${seed}`);
    assert.deepEqual(condemnations(cell), []);
    cell.startAgent("n2");
    await cell.clock.advance(2000);
    assert.equal(cell.state("n1", "n2"), "alive");
    cell.stop();
  }
});

test("M4: an observer that slept condemns nobody for it, and still finds the dead one", async () => {
  for (const seed of seeds) {
    const cell = await settled({ nodes: 4, seed });
    cell.pauseAgent("n1");
    await cell.clock.advance(1000 + cell.random.float() * 60_000);
    cell.killNode("n3");
    await cell.clock.advance(500);
    const resumedMs = cell.clock.monotonicMs();
    cell.resumeAgent("n1");
    await cell.clock.advance(judgedWithinMs);
    const byN1 = condemnations(cell).filter(({ observer }) => observer === "n1");
    assert.deepEqual(
      byN1.map(({ node }) => node),
      ["n3"],
      `seed ${seed}`,
    );
    assert.ok((byN1[0]?.atMs ?? 0) > resumedMs);
    cell.stop();
  }
});

test("M5: who is cut off may evict nobody; the larger side may", async () => {
  for (const seed of seeds) {
    const cell = await settled({ nodes: 5, seed });
    cell.isolate("n1", true);
    await cell.clock.advance(3000);
    for (const node of ["n2", "n3", "n4", "n5"]) {
      assert.equal(cell.state("n1", node), "unreachable", `seed ${seed}`);
      assert.equal(cell.membership("n1").mayEvict(node).allowed, false);
    }
    assert.equal(cell.membership("n1").ladder().peers, "alone");
    assert.equal(cell.membership("n2").mayEvict("n1").allowed, true);
    cell.stop();
  }
});

test("M6: a node that flaps gets growing tolerance, and is forgiven after ten minutes", async () => {
  const cell = await settled({ nodes: 3, seed: 1 });
  const silenceUntilJudged = async () => {
    const fromMs = cell.clock.monotonicMs();
    cell.isolate("n3", true);
    while (cell.state("n1", "n3") !== "unreachable") await cell.clock.advance(50);
    const tookMs = cell.clock.monotonicMs() - fromMs;
    cell.isolate("n3", false);
    await cell.clock.advance(2000);
    return tookMs;
  };
  const first = await silenceUntilJudged();
  const second = await silenceUntilJudged();
  const third = await silenceUntilJudged();
  const fourth = await silenceUntilJudged();
  assert.ok(first < 1900 && second < 1900, `${first} ${second}`);
  assert.ok(third > 2600 && fourth > 5600, `${third} ${fourth}`);
  await cell.clock.advance(600_000);
  assert.ok((await silenceUntilJudged()) < 1900);
  cell.stop();
});

test("M7: losing the hub is its own rung and no node's fault", async () => {
  const cell = await settled({ nodes: 3, seed: 1 });
  cell.setSituation("n1", { hub: "lost" });
  await cell.clock.advance(2000);
  assert.equal(cell.membership("n1").story().rung, "hub-lost");
  assert.deepEqual(condemnations(cell), []);
  cell.setSituation("n1", { hub: "connected" });
  await cell.clock.advance(1000);
  assert.equal(cell.membership("n1").story().rung, "hub-lost", "back only after it held");
  await cell.clock.advance(3000);
  assert.equal(cell.membership("n1").story().rung, "whole");
  cell.stop();
});

/**
 * The oracle knows the true network: an `unreachable` is wrong when the node lived and some path from
 * it to the observer (direct, or over one listening peer) was whole for longer than any tolerance
 * to noise: silence, two beats and two ticks.
 */
test("M8: under random cuts, deaths, pauses and restarts no verdict contradicts the true network", async () => {
  const steadyMs = 1500 + 2 * 300 + 2 * 250 + 40;
  let judged = 0;
  for (const seed of seeds) {
    const cell = await settled({ nodes: 3 + (seed % 3), seed });
    const pick = () => cell.names[cell.random.integer(cell.names.length)] ?? "n1";
    let seen = cell.verdicts.length;
    for (let step = 0; step < 120; step++) {
      const [a, b] = [pick(), pick()];
      const faults: (() => void)[] = [
        () => a !== b && cell.setLink(a, b, false),
        () => a !== b && cell.setLink(a, b, true),
        () => a !== b && cell.setLink(a, b, true),
        () => cell.isolate(a, true),
        () => cell.isolate(a, false),
        () => cell.killNode(a),
        () => cell.startNode(a),
        () => cell.stopAgent(a),
        () => cell.startAgent(a),
        () => cell.pauseAgent(a),
        () => cell.resumeAgent(a),
      ];
      faults[cell.random.integer(faults.length)]?.();
      const untilMs = cell.clock.monotonicMs() + cell.random.float() * 4000;
      while (cell.clock.monotonicMs() < untilMs) {
        await cell.clock.advance(100);
        for (; seen < cell.verdicts.length; seen++) {
          const record = cell.verdicts[seen];
          if (record?.verdict.state !== "unreachable") continue;
          judged++;
          const wrong = cell.pathHeldSince(record.node, record.observer, record.atMs - steadyMs);
          assert.ok(!wrong, `SEEDS=${seed}: ${JSON.stringify(record)} at step ${step}`);
        }
      }
    }
    for (const name of cell.names) {
      cell.isolate(name, false);
      cell.resumeAgent(name);
      cell.startNode(name);
      cell.startAgent(name);
    }
    await cell.clock.advance(12_000);
    for (const observer of cell.names)
      for (const node of cell.names)
        assert.equal(cell.state(observer, node), "alive", `SEEDS=${seed}: ${observer} on ${node}`);
    cell.stop();
  }
  assert.ok(judged > 100, `the schedules must condemn often enough to mean something: ${judged}`);
});
