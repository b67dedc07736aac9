/** The position of a group of the cell stays small, and passes nothing over for that (src/data/README.md, C10). */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { folded, requireRoom } from "../../src/data/streams/cell-groups/fold.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { diary, range, telemetry } from "../support/data.ts";
import {
  id,
  type TestNode,
  simulated,
  append,
  replicate,
  keysIn,
  take,
  taken,
} from "../support/cell-groups.ts";

/** As if all that there is had become too old. */
async function forget(node: TestNode): Promise<void> {
  await node.store.setStreams([{ ...telemetry, retention: { bytesMax: 1 } }, diary]);
  await node.store.retain();
  await node.store.setStreams([telemetry, diary]);
}

for (const seed of [1, 2])
  test(`C10: over crashes without end the position stays small, and every entry is acknowledged once (seed ${seed})`, async (t) => {
    const { clock, start, crash } = simulated(t);
    const foldBytes = 700;
    const nodes = [
      await start("n1", { foldBytes }),
      await start("n2", { foldBytes }),
      await start("n3", { foldBytes }),
    ];
    const [first] = nodes;
    assert.ok(first);
    await first.groups.create(id, { from: "oldest" });
    const random = seededRandom(seed);
    const any = () => nodes[random.integer(nodes.length)] ?? first;
    const sent: string[] = [];
    const acknowledged: string[] = [];
    const origins = new Set<string>();
    let sequence = 1;
    let greatest = 0;
    const work = async (node: TestNode) => {
      const delivery = await node.groups
        .take(id, { limit: 1 + random.integer(5), ackMs: 1000 })
        .catch((error: SkerryError) => assert.equal(error.code, "server-lost"));
      // Some die with what they took.
      if (!delivery || random.integer(4) === 0) return;
      const answer = await node.groups
        .ack(id, delivery.delivery)
        .catch((error: SkerryError) => ({ state: error.code }));
      if (answer.state === "acknowledged") {
        acknowledged.push(...keysIn(delivery));
        for (const { position } of delivery.entries) origins.add(position.origin);
      } else assert.ok(["fenced", "server-lost", "unknown"].includes(answer.state), answer.state);
    };
    for (let round = 0; round < 40; round++) {
      for (let step = 0; step < 30; step++) {
        const node = any();
        const dice = random.integer(12);
        if (dice < 3) {
          await append(node, sequence, sequence + 2);
          for (const n of range(sequence, sequence + 2)) sent.push(`${node.name}/${n}`);
          sequence += 3;
        } else if (dice === 3) await crash(node);
        else if (dice === 4) node.cut = node.cut === "none" ? "all" : "none";
        else if (dice < 7) await replicate(node, any());
        else if (dice === 7) await clock.advance(random.integer(9000));
        else await work(node);
      }
      // All of it is everywhere, acknowledged, and then too old. Who drains it differs.
      for (const node of nodes) node.cut = "none";
      for (const from of nodes) for (const to of nodes) if (from !== to) await replicate(from, to);
      const holder = any();
      while (new Set(acknowledged).size < sent.length) {
        await clock.advance(2000);
        await work(holder);
      }
      for (const node of nodes) await forget(node);
      const { positions } = await holder.groups.status(id);
      greatest = Math.max(greatest, Object.keys(positions).length);
    }
    assert.deepEqual(acknowledged.toSorted(), sent.toSorted(), "each once, none lost");
    assert.ok(origins.size > 60, `${origins.size} incarnations test little`);
    // 700 bytes are some 25 of these names; what comes of one round may stand beside.
    assert.ok(greatest <= 40, `the position names ${greatest} of ${origins.size} logs`);
    t.diagnostic(`${sent.length} entries of ${origins.size} logs, ${greatest} named at most`);
  });

test("C10: an origin that left the position is delivered again rather than passed over", async (t) => {
  const { clock, start, crash } = simulated(t);
  const [one, two] = [await start("n1", { foldBytes: 1 }), await start("n2", { foldBytes: 1 })];
  await one.groups.create(id, { from: "oldest" });
  await append(one, 1, 2);
  await replicate(one, two);
  const first = await take(one);
  await one.groups.ack(id, first?.delivery ?? "");
  const [origin = ""] = Object.keys((await one.groups.status(id)).positions);
  // What this node still has stays in the position, however large that is.
  assert.ok(origin.startsWith("n1."));
  await append(one, 3, 4);
  await crash(one);
  await append(one, 5, 6);
  await forget(one);
  await append(one, 7, 8);
  await clock.advance(61_000);
  const second = await taken(one, clock);
  assert.equal((await one.groups.ack(id, second.delivery)).state, "acknowledged");
  assert.deepEqual(
    Object.keys((await one.groups.status(id)).positions).includes(origin),
    false,
    "nothing of it is here",
  );
  // The other one still has entries of the log that left.
  await one.groups.stop();
  await replicate(one, two);
  const again: string[] = [];
  while (!again.includes("n1/2")) {
    const delivery = await taken(two, clock);
    again.push(...keysIn(delivery));
    assert.equal((await two.groups.ack(id, delivery.delivery)).state, "acknowledged");
  }
  assert.equal((await two.groups.status(id)).lag, 0);
});

test("C10: a position that is too large for the ledger is refused with what makes it smaller", async (t) => {
  const { start } = simulated(t);
  const one = await start("n1");
  const many = Object.fromEntries(range(1, 3000).map((n) => [`n${n}.mabcdef1${n}`, n]));
  const id_ = { stream: "telemetry", group: "big" };
  const record = { vector: many, places: { n1: "a.1", n2: "b.2" } };
  assert.throws(() => requireRoom(id_, record), {
    code: "position-too-large",
    hint: /retention/,
  });
  const all = { beyond: async () => ({ entries: 0, origins: Object.keys(many) }) };
  const options = { node: "n1", bytes: 1000 };
  assert.equal(Object.keys((await folded(all, id_, record, options)).vector).length, 3000);
  const none = { beyond: async () => ({ entries: 0, origins: [] }) };
  const small = await folded(none, id_, record, options);
  assert.ok(Buffer.byteLength(JSON.stringify(small)) < 1000);
  assert.equal((await one.store.beyond({ stream: "telemetry", vector: {} })).entries, 0);
});
