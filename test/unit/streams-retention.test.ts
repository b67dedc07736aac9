/** Retention over rows and segments. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { entry, keysOf, range, telemetry, temporaryFolder } from "../support/data.ts";
import { letSeal, look, never, openSealing as open } from "../support/segments.ts";

test("D8: size removes whole segments, oldest first; resends of what went stay duplicates, after a restart too", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const clock = createSimulatedClock();
  const sealing = { entriesMax: 1000, tailEntries: 100, bytesMax: 40_000, periodMs: 10 };
  const streams = [{ ...telemetry, retention: { bytesMax: 1_100_000 } }];
  let store = await open(path, { clock, sealing, streams });
  const random = seededRandom(3);
  const body = () => ({
    pad: Buffer.from(range(1, 700).map(() => random.integer(256))).toString("hex"),
  });
  for (const first of range(0, 19).map((n) => n * 100)) {
    const request = range(first + 1, first + 100).map((n) => entry(n, { body: body() }));
    assert.equal((await store.append(request)).state, "stored");
    await letSeal(clock, 3);
  }
  const { removed } = await store.retain();
  assert.ok(removed > 0);
  const [status] = (await store.status()).streams;
  assert.ok(
    status && status.bytes <= 1_100_000 && status.bytes > 1_000_000,
    JSON.stringify(status),
  );
  assert.equal(status.entries, 2000 - removed);
  const kept = await keysOf(store);
  assert.deepEqual([kept.length, kept[0]], [2000 - removed, `p1/1/${removed + 1}`]);
  await store.close();
  assert.ok(look(path).segments > 5);
  store = await open(path, { clock, sealing, streams });
  const resend = await store.append([entry(1), entry(removed), entry(removed + 1), entry(2001)]);
  assert.deepEqual(resend.state === "stored" && [resend.stored, resend.duplicates], [1, 3]);
  await store.close();
});

test("D8: a segment goes by age when its youngest entry is too old, and not before the hub has it", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const streams = [{ ...telemetry, retention: { ageMs: 60_000 } }];
  const store = await open(join(folder.path, "s.db"), { clock, streams });
  const { origin } = await store.status();
  for (const first of [1, 21, 41]) {
    await store.append(range(first, first + 19).map((n) => entry(n)));
    await store.markHub({ [origin]: 15 });
    await letSeal(clock, 5);
    await clock.advance(20_000);
  }
  await clock.advance(25_000);
  await store.retain();
  assert.equal((await keysOf(store))[0], "p1/1/11");
  await store.markHub({ [origin]: 60 });
  await store.retain();
  assert.equal((await keysOf(store))[0], "p1/1/41");
  await store.close();
});

test("a stream too small or too slow for segments stays rows, and keeps its limits exactly", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const clock = createSimulatedClock();
  const streams = [
    { name: "telemetry", retention: { bytesMax: 50_000 } },
    { name: "diary", retention: { ageMs: 80_000 } },
  ];
  const store = await open(path, { clock, streams });
  for (const n of range(1, 60)) {
    await store.append([entry(n), entry(n, { stream: "diary" })]);
    await clock.advance(2000);
  }
  await store.close();
  assert.equal(look(path).segments, 0);
});

test("D4: an entry that never came is stored, whatever was removed and however its producer counts; after an upgrade too", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const streams = [{ name: "telemetry", retention: { bytesMax: 5000 } }];
  const random = seededRandom(4);
  const atRandom = [...new Set(range(1, 500).map(() => 1 + random.integer(2 ** 31)))];
  // Counts over two streams; one entry was held back.
  const odd = range(1, 250).map((n) => 2 * n - 1);
  const late = 31;
  const store = await open(path, { streams });
  const send = async (producer: string, sequences: readonly number[]) => {
    for (let at = 0; at < sequences.length; at += 25) {
      const request = sequences.slice(at, at + 25).map((n) => entry(n, { producer }));
      const answer = await store.append(request);
      assert.deepEqual(answer.state === "stored" && [answer.stored, answer.duplicates], [
        request.length,
        0,
      ]);
      await store.retain();
    }
  };
  await send("random", atRandom);
  await send(
    "odd",
    odd.filter((n) => n !== late),
  );
  assert.ok((await keysOf(store)).length < 100);
  await send("odd", [late]);
  assert.ok((await keysOf(store)).includes(`odd/1/${late}`));
  await store.close();

  const db = openDatabase(path);
  const ranges = (joined: number) =>
    JSON.stringify(range(1, 16).map((n) => [n * 50, n * 50 + joined]));
  const write = db.prepare("UPDATE removed SET ranges = ? WHERE producer = ?");
  const [atRandomRow, oddRow] = db.prepare("SELECT id FROM producer ORDER BY id").all();
  write.run(ranges(40), Number(atRandomRow?.["id"]));
  write.run("[[1,400]]", Number(oddRow?.["id"]));
  db.exec("PRAGMA user_version = 6");
  db.close();
  const upgraded = await open(path, { streams });
  const answer = await upgraded.append([
    entry(777, { producer: "random" }),
    entry(399, { producer: "odd" }),
  ]);
  assert.deepEqual(answer.state === "stored" && [answer.stored, answer.duplicates], [1, 1]);
  await upgraded.close();
});

test("D8: time counts while the store is open: no wall clock between two starts removes anything", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const minute = 60_000;
  const streams = [{ name: "telemetry", retention: { ageMs: 360 * minute } }];
  /** A start of the machine: its monotonic clock begins anew. The store itself retains every 10 s. */
  const start = async (wallMs: number) => {
    const clock = createSimulatedClock({ wallMs });
    return { clock, store: await open(path, { clock, streams, sealing: never }) };
  };
  // Sent in 1970; the clock is set right while the machine is off, goes wrong, and goes back.
  const first = await start(5000);
  await first.store.append([entry(1)]);
  await first.store.close();
  for (const year of [2026, 2027, 2001]) {
    const { clock, store } = await start(Date.UTC(year, 0));
    await clock.advance(110 * minute);
    assert.deepEqual(await keysOf(store), ["p1/1/1"], `in ${year}`);
    await store.close();
  }
  // Hours without arrivals count over restarts, but for what was not saved yet.
  const { clock, store } = await start(Date.UTC(2026, 0));
  await clock.advance(20 * minute);
  assert.equal((await keysOf(store)).length, 1);
  await clock.advance(50 * minute);
  assert.equal((await keysOf(store)).length, 0);
  await store.close();
});

test("D9: of what was removed a producer's latest epochs are known; those of an earlier version too", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const streams = [{ name: "telemetry", retention: { bytesMax: 1000 } }];
  const inDb = <T>(work: (db: ReturnType<typeof openDatabase>) => T): T => {
    const db = openDatabase(path);
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  const epochs = () =>
    inDb((db) =>
      db
        .prepare("SELECT epoch FROM removed ORDER BY epoch")
        .all()
        .map((row) => Number(row["epoch"])),
    );
  const boot = (epoch: number) => entry(1, { epoch });
  let store = await open(path, { streams });
  for (const epoch of range(1, 100)) {
    await store.append([boot(epoch)]);
    await store.retain();
  }
  const last = 100 - (await keysOf(store)).length;
  const resend = await store.append([boot(last), boot(last - 15), boot(last - 16)]);
  assert.deepEqual(resend.state === "stored" && [resend.stored, resend.removed], [1, [0, 1]]);
  await store.close();
  const known = range(last - 15, last);
  assert.deepEqual(epochs(), known);

  inDb((db) => {
    db.exec("PRAGMA user_version = 7");
    for (const epoch of range(1, last))
      db.prepare("INSERT OR REPLACE INTO removed VALUES (1, ?, '[[1,1]]')").run(epoch);
  });
  store = await open(path, { streams });
  await store.close();
  assert.deepEqual(epochs(), known);
});
