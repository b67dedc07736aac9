/** One suite for every StreamStore: the store itself, and the store behind its thread. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  connectStreamStore,
  openStreamStore,
  type SealingOptions,
  type StreamEvents,
  type StreamMethods,
  type StreamStore,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import {
  diary,
  entry,
  keysOf,
  range,
  readAll,
  telemetry,
  temporaryFolder,
} from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

type Open = (path: string, node?: string) => Promise<{ store: StreamStore; stop(): Promise<void> }>;

const openWith =
  (sealing?: SealingOptions): Open =>
  async (path, node = "n1") => {
    const store = openStreamStore(
      { clock: systemClock, random: systemRandom, log: silentLog },
      { path, node, sealing },
    );
    return { store, stop: () => store.close() };
  };

type OtherMethods = { "other.thing"(argument: number): Promise<string> };

const openInThread: Open = async (path, node = "n1") => {
  // The storage thread serves more than this room: its type must still do.
  const thread = await startThread<StreamMethods & OtherMethods, StreamEvents & { other: number }>(
    new URL("../support/data-store.entry.ts", import.meta.url),
    { name: "storage", data: { path, node } },
  );
  const store = connectStreamStore(thread, { node });
  return {
    store,
    async stop() {
      await store.close();
      await thread.terminate();
    },
  };
};

for (const [name, open] of Object.entries({
  "in its thread": openWith(),
  "that seals at once": openWith({ entriesMax: 7, tailEntries: 2, periodMs: 1 }),
  "behind a thread": openInThread,
})) {
  describe(`stream store ${name}`, () => {
    const withStore = async (work: (store: StreamStore, path: string) => Promise<void>) => {
      using folder = temporaryFolder();
      const path = join(folder.path, "streams.db");
      const { store, stop } = await open(path);
      try {
        await store.setStreams([telemetry, diary]);
        await work(store, path);
      } finally {
        await stop();
      }
    };

    test("D1: what was appended is read in order, whole, after a restart too", async () => {
      using folder = temporaryFolder();
      const path = join(folder.path, "streams.db");
      const first = await open(path);
      await first.store.setStreams([telemetry]);
      const answer = await first.store.append([
        entry(1, { atMs: 5, body: { text: "æ \u{1f30a}" } }),
        { stream: "telemetry", atMs: 6, body: Buffer.from('{"plain":true}') },
      ]);
      assert.equal(answer.state, "stored");
      const { origin } = await first.store.status();
      assert.match(origin, /^n1\.[a-z0-9]+$/);
      assert.deepEqual(answer, {
        state: "stored",
        stored: 2,
        duplicates: 0,
        cover: { [origin]: 2 },
      });
      await first.stop();
      const second = await open(path);
      await second.store.setStreams([telemetry]);
      const [a, b] = await readAll(second.store);
      assert.equal(Buffer.from(a?.body ?? []).toString(), '{"text":"æ \u{1f30a}"}');
      assert.deepEqual(a?.key, { producer: "p1", epoch: 1, sequence: 1 });
      assert.deepEqual(a?.position, { origin, sequence: 1 });
      assert.equal(b?.key, undefined);
      assert.equal(b?.atMs, 6);
      await second.stop();
    });

    test("D4: a resend is a duplicate, acknowledged with the place where the entry stands", () =>
      withStore(async (store) => {
        await store.append(range(1, 3).map((n) => entry(n)));
        const again = await store.append([entry(2), entry(4), entry(4)]);
        const { origin } = await store.status();
        assert.deepEqual(again, {
          state: "stored",
          stored: 1,
          duplicates: 2,
          cover: { [origin]: 4 },
        });
        assert.deepEqual(await store.append([entry(2)]), {
          state: "stored",
          stored: 0,
          duplicates: 1,
          cover: { [origin]: 2 },
        });
        assert.deepEqual(await keysOf(store), ["p1/1/1", "p1/1/2", "p1/1/3", "p1/1/4"]);
        const other = [
          entry(1, { epoch: 2 }),
          entry(1, { producer: "p2" }),
          entry(1, { stream: "diary" }),
        ];
        const answer = await store.append(other);
        assert.equal(answer.state === "stored" && answer.stored, 3);
      }));

    test("many requests at once each get their own answer", () =>
      withStore(async (store) => {
        const answers = await Promise.all(
          range(1, 200).map((n) =>
            store.append(n % 10 === 0 ? [entry(1)] : [entry(n), entry(n + 1000)]),
          ),
        );
        const stored = answers.map((answer) => (answer.state === "stored" ? answer.stored : -1));
        assert.deepEqual(
          stored,
          range(1, 200).map((n) => (n % 10 === 0 ? 0 : 2)),
        );
        assert.equal((await keysOf(store)).length, 360);
      }));

    test("D1: a request is stored whole or not at all, and the refusal names the field", () =>
      withStore(async (store) => {
        const good = entry(1);
        const cases: [object, string, RegExp][] = [
          [{ ...good, stream: "telemetri" }, "stream-unknown", /no stream "telemetri"/],
          [{ ...good, atMs: -1 }, "invalid-entry", /entries\[1\]\.at: -1/],
          [{ ...good, atMs: 1.5 }, "invalid-entry", /entries\[1\]\.at: 1\.5/],
          [{ ...good, atMs: 1e18 }, "invalid-entry", /entries\[1\]\.at/],
          [
            { ...good, key: { producer: "", epoch: 1, sequence: 1 } },
            "invalid-entry",
            /\.producer/,
          ],
          [
            { ...good, key: { producer: "é".repeat(65), epoch: 1, sequence: 1 } },
            "invalid-entry",
            /130 bytes/,
          ],
          [
            { ...good, key: { producer: "a\0b", epoch: 1, sequence: 1 } },
            "invalid-entry",
            /\.producer/,
          ],
          [{ ...good, key: { producer: "p", epoch: -1, sequence: 1 } }, "invalid-entry", /\.epoch/],
          [
            { ...good, key: { producer: "p", epoch: 1, sequence: 0 } },
            "invalid-entry",
            /\.sequence/,
          ],
          [
            { ...good, key: { producer: "p", epoch: 1, sequence: 2 ** 53 } },
            "invalid-entry",
            /\.sequence/,
          ],
          [
            { ...good, body: Buffer.from("[1]") },
            "invalid-entry",
            /entries\[1\]\.body: not an object/,
          ],
          [
            { ...good, body: Buffer.from("{oops}") },
            "invalid-entry",
            /entries\[1\]\.body: not JSON/,
          ],
          [{ ...good, body: Buffer.from([0x7b, 0xff, 0x7d]) }, "invalid-entry", /not UTF-8/],
          [{ ...good, body: Buffer.from("null") }, "invalid-entry", /not an object/],
          [
            { ...good, body: Buffer.alloc(300_000, 32) },
            "body-too-large",
            /entries\[1\]\.body: 300000 bytes/,
          ],
        ];
        for (const [bad, code, message] of cases) {
          const answer = await store.append([entry(7), bad as never]);
          assert.equal(answer.state === "refused" && answer.code, code, JSON.stringify(answer));
          assert.match(answer.state === "refused" ? answer.message : "", message);
        }
        const unknown = store.check([{ ...good, stream: "telemetri" }]);
        assert.match(unknown?.hint ?? "", /did you mean telemetry\?/);
        assert.deepEqual(await keysOf(store), []);
        assert.deepEqual((await store.status()).vector, {});
      }));

    test("D5: pages go on from a cursor, in time ranges too; a cursor of another store is refused", () =>
      withStore(async (store) => {
        await store.append(
          range(1, 50).flatMap((n) => [entry(n, { atMs: n * 10 }), entry(n, { stream: "diary" })]),
        );
        const first = await store.read({ stream: "telemetry", limit: 20 });
        assert.equal(first.entries.length, 20);
        assert.equal(first.more, true);
        const rest = await store.read({ stream: "telemetry", after: first.cursor });
        assert.equal(rest.entries.length, 30);
        assert.equal(rest.more, false);
        const resumed = await store.read({
          stream: "telemetry",
          after: first.entries[4]?.cursor,
          limit: 1,
        });
        assert.equal(resumed.entries[0]?.key?.sequence, 6);
        assert.deepEqual(await keysOf(store, { fromMs: 100, toMs: 130 }), [
          "p1/1/10",
          "p1/1/11",
          "p1/1/12",
        ]);
        assert.equal((await keysOf(store, { limit: 7 })).length, 50);
        const newest = await store.read({ stream: "telemetry", newest: 3 });
        assert.deepEqual(
          newest.entries.map(({ key }) => key?.sequence),
          [48, 49, 50],
        );
        assert.equal((await store.read({ stream: "telemetry", newest: 1000 })).entries.length, 50);
        await assert.rejects(store.read({ stream: "telemetry", newest: 0 }), {
          code: "invalid-limit",
        });
        await assert.rejects(store.read({ stream: "telemetry", after: "zzz.1" }), {
          code: "invalid-cursor",
        });
        await assert.rejects(store.read({ stream: "telemetry", limit: 0 }), {
          code: "invalid-limit",
        });
        await assert.rejects(store.read({ stream: "telemetrie" }), {
          code: "stream-unknown",
          hint: "did you mean telemetry?",
        });
      }));

    test("D5: a reader that waits is told of every commit", () =>
      withStore(async (store) => {
        const seen: string[] = [];
        let cursor: string | undefined;
        let reading = Promise.resolve();
        store.on("grown", ({ streams }) => {
          assert.deepEqual(streams, ["telemetry"]);
          reading = reading.then(async () => {
            const page = await store.read({ stream: "telemetry", after: cursor });
            cursor = page.cursor;
            seen.push(...page.entries.map(({ key }) => String(key?.sequence)));
          });
        });
        for (const n of range(1, 30)) await store.append([entry(n)]);
        await waitFor(() => seen.length === 30, { what: "30 entries read" });
        assert.deepEqual(seen, range(1, 30).map(String));
      }));

    test("D2, D3: another store that applies the log lists the same, in batches, twice, with a gap refused", () =>
      withStore(async (store) => {
        using folder = temporaryFolder();
        const other = await open(join(folder.path, "streams.db"), "n2");
        try {
          await other.store.setStreams([telemetry]);
          for (const n of range(1, 100))
            await store.append([entry(n, { body: { pad: "x".repeat(100) } })]);
          const { origin } = await store.status();
          const late = await store.log({ origin, from: 50 });
          assert.ok(late);
          assert.deepEqual(await other.store.apply(late.bytes), {
            state: "gap",
            origin,
            top: 0,
            stored: 0,
          });
          let batches = 0;
          for (let from = 1; ; batches++) {
            const batch = await store.log({ origin, from, bytesMax: 3000 });
            if (!batch) break;
            const answer = await other.store.apply(batch.bytes);
            assert.deepEqual(answer, {
              state: "applied",
              origin,
              top: batch.to,
              stored: batch.entries,
            });
            assert.equal((await other.store.apply(batch.bytes)).stored, 0);
            from = batch.to + 1;
          }
          assert.ok(batches > 3, `${batches} batches`);
          assert.deepEqual(await keysOf(other.store), await keysOf(store));
          assert.equal((await other.store.vector())[origin], 100);
          // A node that is not the origin serves the log as well.
          assert.deepEqual((await other.store.log({ origin, from: 1 }))?.entries, 100);
          await assert.rejects(other.store.apply(Buffer.from("SKL1 nonsense")), {
            code: "invalid-batch",
          });
        } finally {
          await other.stop();
        }
      }));

    test("the hub's vector lowers the backlog; a stream without egress has none", () =>
      withStore(async (store) => {
        await store.append([
          ...range(1, 10).map((n) => entry(n)),
          ...range(1, 5).map((n) => entry(n, { stream: "diary" })),
        ]);
        const { origin } = await store.status();
        const backlog = async () =>
          (await store.status()).streams.map(
            ({ name, backlog: { entries } }) => `${name} ${entries}`,
          );
        assert.deepEqual(await backlog(), ["diary 0", "telemetry 10"]);
        await store.markHub({ [origin]: 4 });
        assert.deepEqual(await backlog(), ["diary 0", "telemetry 6"]);
        await store.append([entry(11)]);
        assert.deepEqual(await backlog(), ["diary 0", "telemetry 7"]);
        assert.ok(((await store.status()).backlog.oldestAgeMs ?? -1) >= 0);
        await store.markHub({ [origin]: 16 });
        assert.deepEqual(await backlog(), ["diary 0", "telemetry 0"]);
        assert.equal((await store.status()).backlog.oldestAgeMs, undefined);
        await store.markHub({ [origin]: 2 });
        assert.deepEqual(await backlog(), ["diary 0", "telemetry 9"]);
      }));

    test("D8: in a cell with a hub age removes nothing that leaves before the hub said that it has it, after a restart too", async () => {
      using folder = temporaryFolder();
      const path = join(folder.path, "streams.db");
      const streams = [telemetry, diary].map((stream) => ({ ...stream, retention: { ageMs: 1 } }));
      const diaryEntry = (n: number) => entry(n, { stream: "diary" });
      const countOf = async (store: StreamStore, name: string) =>
        (await store.status()).streams.find((stream) => stream.name === name)?.entries;
      /** What came before is as old as it by then. */
      const untilEmpty = (store: StreamStore, name: string) =>
        waitFor(
          async () => {
            await store.retain();
            return (await countOf(store, name)) === 0;
          },
          { what: `age to remove all of ${name}` },
        );
      const opened = async (work: (store: StreamStore) => Promise<void>) => {
        const { store, stop } = await open(path);
        try {
          await store.setStreams(streams);
          await work(store);
        } finally {
          await stop();
        }
      };
      await opened(async (store) => {
        await store.append([entry(1), diaryEntry(1)]);
        await untilEmpty(store, "telemetry");
        await store.expectHub();
        await store.append([entry(2), diaryEntry(2)]);
        await untilEmpty(store, "diary");
        assert.equal(await countOf(store, "telemetry"), 1);
      });
      await opened(async (store) => {
        await store.append([diaryEntry(3)]);
        await untilEmpty(store, "diary");
        assert.deepEqual(await keysOf(store), ["p1/1/2"]);
        await store.markHub(await store.vector());
        await untilEmpty(store, "telemetry");
      });
    });
  });
}
