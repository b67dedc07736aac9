/** A store that fails to take what others send, for a while: it is sent again, and no vector passes it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createCell } from "../../src/drill/simulated/convergence/streams-cell.ts";
import { noFaults } from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { entry, keysOf, range, readAll, telemetry, temporaryFolder } from "../support/data.ts";

type Taking = (...given: never[]) => Promise<unknown>;

/** Fails so many times: before anything happened, or behind it, so that only the answer is lost. */
function failing<Take extends Taking>(take: Take, times: number, random: Random) {
  const count = { failed: 0, after: 0 };
  const faulty = async (...given: Parameters<Take>) => {
    const error = new SkerryError({ code: "storage-busy", message: "a fault", retryable: true });
    if (count.failed < times) {
      count.failed++;
      if (random.integer(2) === 0) throw error;
      await take(...given);
      count.after++;
      throw error;
    }
    return await take(...given);
  };
  return { count, faulty: faulty as Take };
}

for (const seed of [1, 2, 3]) {
  test(`D2, D3, D4: an apply that fails, at a peer and at the hub, is tried again until all is there, once (seed ${seed})`, async () => {
    using folder = temporaryFolder();
    const clock = createSimulatedClock();
    const random = seededRandom(seed);
    const cell = await createCell(
      { clock, random: seededRandom(seed) },
      {
        ...{ folder: folder.path, names: ["n1", "n2", "n3"], streams: [telemetry] },
        ...{ faults: noFaults, batchBytesMax: 40 },
      },
    );
    const [one, two, three] = ["n1", "n2", "n3"].map((name) => cell.nodes.get(name));
    assert.ok(one && two && three);
    // What n3 has comes to n2 by way of n1 only, so it is pulled as well as pushed.
    const atPeer = failing(two.store.apply.bind(two.store), 12, random);
    two.store.apply = atPeer.faulty;
    const atHub = failing(cell.hub.ingest.bind(cell.hub), 12, random);
    cell.hub.ingest = atHub.faulty;
    cell.connect("n1", "n2");
    cell.connect("n1", "n3");
    cell.connect("n1", "hub");
    for (const [node, producer] of [
      [one, "p1"],
      [three, "p3"],
    ] as const)
      for (const n of range(1, 60)) await node.store.append([entry(n, { producer })]);
    const sumOf = (vector: Readonly<Record<string, number>>) =>
      Object.values(vector).reduce((all, top) => all + top, 0);
    const isThere = async () =>
      sumOf(await two.store.vector()) === 120 && sumOf(await cell.hub.vector("cell-a")) === 120;
    for (let second = 0; second < 300 && !(await isThere()); second++) {
      const sum = sumOf(await two.store.vector());
      assert.equal(
        (await keysOf(two.store)).length,
        sum,
        "a vector that is ahead of what is there",
      );
      await clock.advance(1000);
    }
    assert.ok(await isThere(), "not all is there after five minutes");
    for (const store of [two.store, cell.hub]) {
      const keys = (await readAll(store)).map(({ key }) => `${key?.producer}/${key?.sequence}`);
      assert.deepEqual([keys.length, new Set(keys).size], [120, 120]);
    }
    assert.deepEqual([atPeer.count.failed, atHub.count.failed], [12, 12]);
    await cell.stop();
  });
}
