/**
 * Members of a group that crash, come late and come back, over a store that restarts, seals and
 * drops: every entry that was kept is delivered, and has its result once.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore, type Delivery } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  diary,
  entry,
  keysOf,
  range,
  readAll,
  telemetry,
  temporaryFolder,
} from "../support/data.ts";

const id = { stream: "telemetry", group: "workers" };

for (const seed of range(1, 4)) {
  test(`C1, C3: at least once, and one result each, seed ${seed}`, async () => {
    using folder = temporaryFolder();
    const random = seededRandom(seed);
    const clock = createSimulatedClock();
    const open = async () => {
      const store = openStreamStore(
        { clock, random: seededRandom(random.integer(2 ** 32)), log: silentLog },
        {
          path: join(folder.path, "s.db"),
          node: "n1",
          sealing: { entriesMax: 9, tailEntries: 4, periodMs: 20 },
        },
      );
      await store.setStreams([telemetry, diary]);
      return store;
    };
    let store = await open();
    await store.groups.create(id, { from: "oldest" });
    const held: Delivery[] = [];
    const delivered = new Set<number>();
    let sent = 0;

    const take = async (limit: number) => {
      const taken = await store.groups.take(id, { limit, ackMs: 500 });
      for (const { key } of taken?.entries ?? []) delivered.add(key?.sequence ?? 0);
      if (taken) held.push(taken);
      return taken;
    };
    const ack = async ({ delivery, entries }: Delivery) => {
      // No key: only the transaction keeps these from standing there twice.
      const results = entries.map(({ key }) => ({
        stream: "diary",
        body: Buffer.from(JSON.stringify({ of: key?.sequence })),
      }));
      const answer = await store.groups.ack(id, delivery, results);
      assert.notEqual(answer.state, "refused");
    };

    for (let step = 0; step < 150; step++) {
      const action = random.integer(10);
      if (action < 3) {
        const count = 1 + random.integer(8);
        await store.append(range(sent + 1, sent + count).map((n) => entry(n)));
        if (random.float() < 0.3) await store.append([entry(step + 1, { stream: "diary" })]);
        sent += count;
      } else if (action < 6) await take(1 + random.integer(6));
      else if (action < 8 && held.length > 0) {
        const [some] = held.splice(random.integer(held.length), 1);
        if (some) await ack(some);
      } else if (action === 8) await clock.advance(random.integer(400));
      else if (random.float() < 0.4) {
        await store.close();
        store = await open();
      }
    }
    for (let rounds = 0; rounds < 400; rounds++) {
      await clock.advance(100);
      const taken = await take(10);
      if (taken) await ack(taken);
      const { lag, underWay } = await store.groups.status(id);
      if (lag === 0 && underWay === 0) break;
    }
    assert.equal((await store.groups.status(id)).lag, 0);
    assert.equal((await keysOf(store)).length, sent);
    assert.deepEqual(
      [...delivered].sort((a, b) => a - b),
      range(1, sent),
    );
    const results = (await readAll(store, { stream: "diary" }))
      .map(({ body }) => (JSON.parse(Buffer.from(body).toString()) as { of?: number }).of)
      .filter((of) => of !== undefined);
    assert.deepEqual(
      results.sort((a, b) => a - b),
      range(1, sent),
    );
    await store.close();
  });
}
