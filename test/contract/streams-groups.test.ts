/** One suite for consumer groups: in the store itself, and behind its thread. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  connectStreamStore,
  openStreamStore,
  type Delivery,
  type StreamEvents,
  type StreamMethods,
  type StreamStore,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { diary, entry, keysOf, range, telemetry, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

type Open = (path: string) => Promise<{ store: StreamStore; stop(): Promise<void> }>;

const openHere: Open = async (path) => {
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node: "n1", sealing: { entriesMax: 7, tailEntries: 2, periodMs: 1 } },
  );
  return { store, stop: () => store.close() };
};
const openInThread: Open = async (path) => {
  const thread = await startThread<StreamMethods, StreamEvents>(
    new URL("../support/data-store.entry.ts", import.meta.url),
    { name: "storage", data: { path, node: "n1" } },
  );
  const store = connectStreamStore(thread, { node: "n1" });
  return {
    store,
    async stop() {
      await store.close();
      await thread.terminate();
    },
  };
};

const id = { stream: "telemetry", group: "training" };
const sequencesOf = (taken: Delivery | undefined) => taken?.entries.map(({ key }) => key?.sequence);

for (const [name, open] of Object.entries({ here: openHere, "behind a thread": openInThread })) {
  describe(`consumer groups ${name}`, () => {
    const openStore = async (path: string) => {
      const opened = await open(path);
      await opened.store.setStreams([telemetry, diary]);
      return opened;
    };
    const withStore = async (work: (store: StreamStore, path: string) => Promise<void>) => {
      using folder = temporaryFolder();
      const { store, stop } = await openStore(join(folder.path, "s.db"));
      try {
        await work(store, folder.path);
      } finally {
        await stop();
      }
    };
    const taking =
      ({ groups }: StreamStore) =>
      (limit: number, ackMs = 60_000, member = "m1") =>
        groups.take(id, { limit, ackMs, member });

    test("C2: members share a stream, a batch goes to one of them, and status says how far it is", () =>
      withStore(async (store) => {
        const take = taking(store);
        await store.append(range(1, 25).map((n) => entry(n)));
        await store.append([entry(1, { stream: "diary" })]);
        const made = await store.groups.create(id, { from: "oldest" });
        assert.deepEqual([made.created, made.lag, made.underWay], [true, 25, 0]);
        const again = await store.groups.create(id, { from: "newest" });
        assert.deepEqual([again.created, again.lag], [false, 25]);
        const first = await take(10);
        const second = await take(10, 60_000, "m2");
        assert.deepEqual(sequencesOf(first), range(1, 10));
        assert.deepEqual(sequencesOf(second), range(11, 20));
        assert.deepEqual([first?.attempt, first?.ackMs], [1, 60_000]);
        assert.deepEqual(first?.entries[0]?.position.sequence, 1);
        // Out of order: the position waits for the first.
        assert.deepEqual(await store.groups.ack(id, second?.delivery ?? ""), {
          state: "acknowledged",
        });
        const status = await store.groups.status(id);
        assert.deepEqual([status.lag, status.underWay, status.members], [25, 1, ["m1"]]);
        await store.groups.ack(id, first?.delivery ?? "");
        assert.equal((await store.groups.status(id)).lag, 5);
        const page = await store.read({
          stream: "telemetry",
          after: (await store.groups.status(id)).position,
        });
        assert.equal(page.entries[0]?.key?.sequence, 21);
        assert.deepEqual(sequencesOf(await take(10)), range(21, 25));
        assert.equal(await take(10), undefined);
        assert.deepEqual(
          (await store.groups.list("telemetry")).map(({ group }) => group),
          ["training"],
        );
        assert.deepEqual(await store.groups.list("diary"), []);
      }));

    test("C1: what is not acknowledged in time comes again, what is given back at once", () =>
      withStore(async (store) => {
        const take = taking(store);
        await store.append(range(1, 3).map((n) => entry(n)));
        await store.groups.create(id, { from: "oldest" });
        const lost = await take(3, 100, "lost");
        const again = await waitFor(async () => await take(3).then((t) => t?.attempt === 2 && t), {
          what: "the batch to come again",
        });
        assert.deepEqual(sequencesOf(again), [1, 2, 3]);
        assert.equal(await store.groups.extend(id, lost?.delivery ?? "", 60_000), false);
        assert.equal(await store.groups.extend(id, again.delivery, 60_000), true);
        // Whoever is first counts; the other one is told.
        assert.equal((await store.groups.ack(id, lost?.delivery ?? "")).state, "acknowledged");
        assert.equal((await store.groups.ack(id, again.delivery)).state, "done-before");
        assert.equal(await store.groups.release(id, again.delivery), false);
        await store.append(range(4, 6).map((n) => entry(n)));
        const next = await take(3);
        assert.equal(await store.groups.release(id, next?.delivery ?? ""), true);
        assert.deepEqual(sequencesOf(await take(2)), [4, 5]);
      }));

    test("C1, C3: acknowledgements outlive a restart, deliveries do not; results are stored with them, once", () =>
      withStore(async (_store, folder) => {
        const path = join(folder, "again.db");
        let { store, stop } = await openStore(path);
        await store.append(range(1, 30).map((n) => entry(n)));
        await store.groups.create(id, { from: "oldest" });
        const [a, b, c] = [
          await taking(store)(10),
          await taking(store)(10),
          await taking(store)(10),
        ];
        await store.groups.ack(id, b?.delivery ?? "", [entry(1, { stream: "diary" })]);
        await stop();
        ({ store, stop } = await openStore(path));
        const take = taking(store);
        const result = (n: number) => [entry(n, { stream: "diary" })];
        assert.deepEqual(sequencesOf(await take(4)), [1, 2, 3, 4]);
        const wide = await take(10);
        assert.deepEqual(sequencesOf(wide), range(5, 10));
        // From before the restart, and still good: nobody else acknowledged any of it.
        const late = await store.groups.ack(id, a?.delivery ?? "", result(2));
        assert.equal(late.state === "acknowledged" && late.results?.stored, 1);
        assert.equal(
          (await store.groups.ack(id, wide?.delivery ?? "", result(3))).state,
          "done-before",
        );
        const rest = await take(5);
        assert.deepEqual(sequencesOf(rest), range(21, 25));
        await store.groups.ack(id, rest?.delivery ?? "", result(4));
        assert.equal((await store.groups.ack(id, c?.delivery ?? "", result(5))).state, "overtaken");
        assert.deepEqual(sequencesOf(await take(10)), range(26, 30));
        assert.deepEqual(await keysOf(store, { stream: "diary" }), ["p1/1/1", "p1/1/2", "p1/1/4"]);
        await stop();
      }));

    test("C4: a group is moved to a time, a cursor or an end; what was delivered before counts for nothing", () =>
      withStore(async (store) => {
        const take = taking(store);
        await store.append(range(1, 40).map((n) => entry(n, { atMs: n * 1000 })));
        await store.groups.create(id, { from: "newest" });
        assert.equal(await take(10), undefined);
        const moved = await store.groups.seek(id, { fromMs: 30_500 });
        assert.equal(moved.lag, 10);
        const taken = await take(5);
        assert.deepEqual(sequencesOf(taken), range(31, 35));
        await store.groups.seek(id, { after: taken?.entries[1]?.cursor ?? "" });
        assert.equal((await store.groups.ack(id, taken?.delivery ?? "")).state, "unknown");
        assert.deepEqual(sequencesOf(await take(2)), [33, 34]);
        await store.groups.remove(id);
        await assert.rejects(take(1), { code: "group-unknown" });
        await store.groups.create(id, { fromMs: 1e12 });
        assert.equal(await take(1), undefined);
        await store.append([entry(41, { atMs: 1 })]);
        assert.deepEqual(sequencesOf(await take(1)), [41]);
      }));

    test("C5: what is wrong with a request is named, and changes nothing", () =>
      withStore(async (store) => {
        await store.append([entry(1)]);
        const { groups } = store;
        await assert.rejects(groups.create({ ...id, stream: "telemetri" }, { from: "oldest" }), {
          code: "stream-unknown",
        });
        await assert.rejects(groups.create({ ...id, group: "No" }, { from: "oldest" }), {
          code: "invalid-group",
        });
        await assert.rejects(groups.create(id, { after: "zzz.1" }), { code: "invalid-cursor" });
        await assert.rejects(groups.status(id), { code: "group-unknown" });
        await groups.create(id, { from: "oldest" });
        await assert.rejects(groups.take(id, { limit: 0 }), { code: "invalid-limit" });
        await assert.rejects(groups.take(id, { ackMs: 1 }), { code: "invalid-limit" });
        for (const delivery of ["", "1.2.3", "1.0.99999.1", "x.y.z.1"])
          assert.equal((await groups.ack(id, delivery)).state, "unknown", delivery);
        const taken = await groups.take(id, {});
        const bad = await groups.ack(id, taken?.delivery ?? "", [
          { stream: "diary", body: Buffer.from("[]") },
        ]);
        assert.equal(bad.state === "refused" && bad.code, "invalid-entry");
        assert.equal((await groups.status(id)).underWay, 1);
      }));
  });
}
