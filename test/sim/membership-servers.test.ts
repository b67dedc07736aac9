/**
 * Rule E where several servers share a ledger, and links that are deaf in one direction, whole cells in
 * virtual time. A failure names its seed: run this file again with SEEDS=that.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createVirtualCell, type VirtualCell } from "../support/membership-cell.ts";
import type { WiresOptions } from "../support/membership-wires.ts";

const seeds = (process.env["SEEDS"] ?? "1,2").split(",").map(Number);

/** Last sign of life: a beat or a frame may be 20 ms under way; then 1.5 s of silence, then a tick. */
const judgedWithinMs = 20 + 1500 + 250;
/** And what rule E may wait for beyond that: a proof of the quorum, sent every 300 ms. */
const decidedWithinMs = judgedWithinMs + 400;

type Shape = { readonly name: string; readonly nodes: number; readonly wires: WiresOptions };
const shapes: readonly Shape[] = [
  { name: "one server, two workers", nodes: 3, wires: { servers: 1 } },
  { name: "two servers and a witness", nodes: 2, wires: { servers: 2, witness: "w" } },
  { name: "two servers, a witness, a worker", nodes: 3, wires: { servers: 2, witness: "w" } },
  { name: "three servers", nodes: 3, wires: { servers: 3 } },
  { name: "three servers, two workers", nodes: 5, wires: { servers: 3 } },
  { name: "five servers", nodes: 5, wires: { servers: 5 } },
];
const shared = shapes.filter(({ wires }) => wires.servers > 1);

async function settled({ nodes, wires }: Shape, seed: number): Promise<VirtualCell> {
  const cell = createVirtualCell({ nodes, seed, wires });
  await cell.clock.advance(3000 + cell.random.float() * 1000);
  for (const observer of cell.names)
    for (const node of cell.names) assert.equal(cell.state(observer, node), "alive");
  return cell;
}

const serversOf = ({ names }: VirtualCell, { wires }: Shape) => names.slice(0, wires.servers);
const membersOf = (cell: VirtualCell, shape: Shape) => [
  ...serversOf(cell, shape),
  ...(shape.wires.witness === undefined ? [] : [shape.wires.witness]),
];
const pairs = (names: readonly string[]) =>
  names.flatMap((from) => names.filter((to) => to !== from).map((to) => [from, to] as const));

/** Every node that some running server may evict at this moment, as `server evicts node`. */
const evictable = (cell: VirtualCell, shape: Shape) =>
  serversOf(cell, shape)
    .filter((server) => cell.runs(server))
    .flatMap((server) =>
      cell.names
        .filter((node) => node !== server && cell.membership(server).mayEvict(node).allowed)
        .map((node) => `${server} evicts ${node}`),
    );

const condemned = (cell: VirtualCell) =>
  cell.verdicts.filter(({ verdict }) => verdict.state === "unreachable");

/** Looks again and again: often enough to see what stands for as long as two beats. */
async function watch(
  cell: VirtualCell,
  forMs: number,
  look: () => void,
  stepMs = 250,
): Promise<void> {
  for (let passedMs = 0; passedMs < forMs; passedMs += stepMs) {
    await cell.clock.advance(stepMs);
    look();
  }
}

for (const shape of shapes)
  test(`M1, M11: ${shape.name}: one link deaf in one direction, whichever: nobody is condemned, evicted or flaps`, async () => {
    for (const seed of seeds.slice(0, 1)) {
      const cell = await settled(shape, seed);
      for (const [from, to] of pairs(cell.names)) {
        const before = cell.verdicts.length;
        // A cut wire takes links and ledger with it; of two machines that is then a cell cut in two.
        const wholeWire = cell.names.length > 2;
        if (wholeWire) cell.setLink(from, to, false);
        else cell.setTraffic("beats", from, to, false);
        await watch(cell, 4000, () => assert.deepEqual(evictable(cell, shape), [], `seed ${seed}`));
        const told = cell.verdicts
          .slice(before)
          .map(({ observer, node, verdict }) => `${observer} on ${node}: ${verdict.state}`);
        // With the wire cut both ends lose their link; who is heard by beats stays alive.
        assert.deepEqual(told, wholeWire ? [`${to} on ${from}: link-down`] : [], `seed ${seed}`);
        cell.setLink(from, to, true);
        cell.setTraffic("beats", from, to, true);
        await cell.clock.advance(3000);
      }
      cell.stop();
    }
  });

for (const shape of shapes.filter(({ nodes }) => nodes > 2))
  test(`M1, M11: ${shape.name}: a link that flaps condemns nobody, whoever is at its ends`, async () => {
    for (const seed of seeds.slice(0, 1)) {
      const cell = await settled(shape, seed);
      for (const [from, to] of pairs(cell.names)) {
        for (let flap = 0; flap < 3; flap++) {
          const both = cell.random.float() < 0.5;
          cell.setLink(from, to, false);
          if (both) cell.setLink(to, from, false);
          const look = () => assert.deepEqual(evictable(cell, shape), [], `seed ${seed}`);
          await watch(cell, 100 + cell.random.float() * 2500, look);
          cell.setLink(from, to, true);
          cell.setLink(to, from, true);
          await watch(cell, 100 + cell.random.float() * 2000, look);
        }
      }
      assert.deepEqual(condemned(cell), [], `seed ${seed}`);
      const others = cell.verdicts.filter(
        ({ verdict }) => verdict.state !== "alive" && verdict.state !== "link-down",
      );
      assert.ok(
        others.every(({ verdict }) => verdict.state === "unknown"),
        `seed ${seed}: a broken link is nothing else`,
      );
      cell.stop();
    }
  });

for (const shape of shared)
  test(`M12: ${shape.name}: any one node that dies may be evicted by every server that is left`, async () => {
    for (const seed of seeds)
      for (const victim of createNames(shape.nodes)) {
        const cell = await settled(shape, seed);
        cell.killNode(victim);
        await cell.clock.advance(decidedWithinMs);
        const survivors = serversOf(cell, shape).filter((server) => server !== victim);
        for (const server of survivors) {
          const decision = cell.membership(server).mayEvict(victim);
          assert.ok(decision.allowed, `SEEDS=${seed}: ${server} on ${victim}: ${decision.because}`);
        }
        cell.stop();
      }
  });

for (const shape of shared)
  test(`M12: ${shape.name}: a server that is cut off evicts nobody at any moment, and nobody when it is back`, async () => {
    for (const seed of seeds)
      for (const server of createNames(shape.wires.servers)) {
        const cell = await settled(shape, seed);
        const cut = (up: boolean) => {
          for (const other of [...cell.names, ...membersOf(cell, shape)]) {
            if (other === server) continue;
            cell.setLink(server, other, up);
            cell.setLink(other, server, up);
          }
        };
        const mayNot = () =>
          assert.deepEqual(
            evictable(cell, shape).filter((text) => text.startsWith(`${server} `)),
            [],
            `SEEDS=${seed}`,
          );
        cut(false);
        await watch(cell, 12_000, mayNot);
        cut(true);
        await watch(cell, 1500, mayNot, 25);
        cell.stop();
      }
  });

test("M12: a server that is deaf to beats and links, and still in the ledger, evicts nobody", async () => {
  for (const shape of shared)
    for (const seed of seeds) {
      const cell = await settled(shape, seed);
      const others = cell.names.filter((name) => name !== "n1");
      for (const other of others) {
        cell.setTraffic("beats", other, "n1", false);
        cell.setTraffic("links", other, "n1", false);
      }
      await watch(cell, 10_000, () =>
        assert.deepEqual(evictable(cell, shape), [], `SEEDS=${seed}`),
      );
      // It is alive to all that hear its beats, and knows of the servers at least that they are there.
      for (const other of others) assert.equal(cell.state(other, "n1"), "alive");
      for (const server of serversOf(cell, shape).slice(1))
        assert.equal(cell.state("n1", server), "link-down");
      cell.stop();
    }
});

test("M12: without a quorum nobody is evicted; with one again, who is gone is", async () => {
  for (const seed of seeds) {
    const shape = shapes.find(({ name }) => name === "three servers, two workers") as Shape;
    const cell = await settled(shape, seed);
    cell.killNode("n1");
    cell.killNode("n2");
    await watch(cell, 10_000, () => {
      for (const node of ["n1", "n2"])
        if (cell.membership("n3").mayEvict(node).allowed)
          assert.ok(cell.quorumSinceMs("n3") !== undefined, `SEEDS=${seed}`);
    });
    const held = cell.membership("n3").mayEvict("n1");
    assert.match(held.because, /quorum is lost/);
    cell.startNode("n2");
    await cell.clock.advance(5000);
    assert.equal(cell.membership("n3").mayEvict("n1").allowed, true);
    assert.equal(cell.state("n3", "n2"), "alive");
    cell.stop();
  }
});

test("M13: keeper and agent gone, machine alive: its ledger member tells, and nothing is evicted", async () => {
  for (const seed of seeds) {
    const shape = shapes.find(({ name }) => name === "three servers, two workers") as Shape;
    const cell = await settled(shape, seed);
    cell.stopAgent("n2");
    // As with its keeper killed: nothing of it is heard but etcd, which outlives both.
    for (const other of cell.names)
      if (other !== "n2") cell.setTraffic("beats", "n2", other, false);
    await watch(cell, 10_000, () => assert.deepEqual(evictable(cell, shape), []));
    const verdict = cell.membership("n1").verdicts().get("n2");
    assert.deepEqual(verdict?.state === "agent-down" && verdict.knownBy, "ledger");
    // Who has no member of the ledger to ask knows no better.
    assert.equal(cell.state("n4", "n2"), "unreachable");
    cell.stop();
  }
});

/**
 * The oracle knows the true network. Wrong is `unreachable` while a path was whole (M8), and an eviction
 * on nobody's word but its own by a server that was outside every quorum for longer than a proof lasts.
 */
test("M8, M12: under random faults of wires, firewalls, machines and agents nobody is evicted wrongly", async () => {
  const steadyMs = 1500 + 2 * 300 + 2 * 250 + 40;
  const proofMs = 750 + 300;
  let evictions = 0;
  for (const shape of shared)
    for (const seed of seeds) {
      const cell = await settled(shape, seed);
      const ends = [...new Set([...cell.names, ...membersOf(cell, shape)])];
      const any = <T>(of: readonly T[]) => of[cell.random.integer(of.length)] as T;
      const lastQuorumMs = new Map<string, number>();
      for (let step = 0; step < 50; step++) {
        const [a, b] = [any(ends), any(ends)];
        const node = any(cell.names);
        const traffic = any(["beats", "links", "ledger"] as const);
        const faults: (() => void)[] = [
          () => a !== b && cell.setLink(a, b, false),
          () => a !== b && cell.setLink(a, b, true),
          () => a !== b && cell.setTraffic(traffic, a, b, false),
          () => a !== b && cell.setTraffic(traffic, a, b, true),
          () => cell.isolate(node, true),
          () => cell.isolate(node, false),
          () => cell.killNode(node),
          () => cell.startNode(node),
          () => cell.stopAgent(node),
          () => cell.startAgent(node),
          () => cell.freezeNode(node),
          () => cell.thawNode(node),
        ];
        any(faults)();
        await watch(cell, cell.random.float() * 4000, () => {
          const nowMs = cell.clock.monotonicMs();
          for (const server of serversOf(cell, shape)) {
            if (cell.quorumSinceMs(server) !== undefined) lastQuorumMs.set(server, nowMs);
            if (!cell.runs(server)) continue;
            for (const other of cell.names) {
              const decision = other !== server && cell.membership(server).mayEvict(other);
              if (!decision || !decision.allowed) continue;
              evictions++;
              const what = `SEEDS=${seed}, ${shape.name}, step ${step}: ${server} evicts ${other}`;
              assert.ok(!cell.pathHeldSince(other, server, nowMs - steadyMs), what);
              // Another server's word shows that this one is not cut off; without any the quorum must.
              if (/no other server/.test(decision.because))
                assert.ok(nowMs - (lastQuorumMs.get(server) ?? 0) <= proofMs, `${what}, cut off`);
            }
          }
        });
      }
      cell.stop();
    }
  assert.ok(
    evictions > 100,
    `the schedules must evict often enough to mean something: ${evictions}`,
  );
});

function createNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `n${index + 1}`);
}
