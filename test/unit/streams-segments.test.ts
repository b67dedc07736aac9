/** Sealed segments: nothing that a store answers tells whether an entry is a row or sealed. */
import { encodeBatch } from "../../src/data/batch/codec.ts";
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { EntryInput } from "../../src/api/index.ts";
import { decodeBatch, type LocalStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { entry, keysOf, range, temporaryFolder } from "../support/data.ts";
import { hearPeer } from "../support/put-back.ts";
import { letSeal, look, never, openSealing as open, small } from "../support/segments.ts";

/** Spoils the content of the segments, the `which` oldest. */
function spoil(path: string, which: number): void {
  const db = openDatabase(path);
  for (const row of db
    .prepare("SELECT id, bytes FROM segment_bytes ORDER BY id LIMIT ?")
    .all(which)) {
    const bytes = Buffer.from(row["bytes"] as Uint8Array);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x10;
    db.prepare("UPDATE segment_bytes SET bytes = ? WHERE id = ?").run(bytes, Number(row["id"]));
  }
  db.close();
}

for (const seed of range(1, 5)) {
  test(`S1, S2: a store that seals and one that never does answer alike, seed ${seed}`, () =>
    compareStores(seed));
}

const shown = ({ body, ...rest }: EntryInput & { cursor?: string }) => ({
  ...rest,
  body: Buffer.from(body).toString(),
});

async function compareStores(seed: number): Promise<void> {
  using folder = temporaryFolder();
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)] as T;
  const clock = createSimulatedClock();
  const paths = ["sealed", "rows"].map((name) => join(folder.path, `${name}.db`));
  let opened = 0;
  const openBoth = () => {
    // Both draw the same names for what is new, and never one that they drew before.
    const drawn = seed * 1000 + opened++;
    return Promise.all(
      paths.map((path, index) =>
        open(path, { clock, seed: drawn, sealing: index === 0 ? small : never }),
      ),
    );
  };
  let stores = await openBoth();
  const peer = await open(join(folder.path, "peer.db"), {
    clock,
    node: "n2",
    seed: seed * 1000 + 999,
  });
  let unkeyed = 0;
  const someEntries = (): EntryInput[] =>
    range(1, 1 + random.integer(12)).map(() => {
      const stream = pick(["telemetry", "telemetry", "diary"]);
      if (random.float() < 0.1)
        return { stream, atMs: random.integer(1000), body: Buffer.from(`{"u":${++unkeyed}}`) };
      return entry(1 + random.integer(120), {
        stream,
        producer: pick(["p1", "p2", "p3"]),
        epoch: pick([1, 1, 2]),
        atMs: random.integer(1000),
      });
    });
  const alike = async (what: string, ask: (store: LocalStreamStore, index: number) => unknown) => {
    const [sealed, rows] = await Promise.all(
      stores.map(async (store, index) => {
        try {
          return await ask(store, index);
        } catch (error) {
          return String(error);
        }
      }),
    );
    assert.deepEqual(sealed, rows, what);
  };
  /** Of the same place in both: what is sealed as it comes leaves numbers out where a duplicate came along. */
  const cursors: string[][] = [];

  for (let step = 0; step < 160; step++) {
    const action = random.integer(12);
    if (action < 4) {
      const request = someEntries();
      await alike("append", (store) => store.append(request));
    } else if (action === 4) {
      await peer.append(someEntries());
      const { origin } = await peer.status();
      const from = ((await stores[0]?.vector())?.[origin] ?? 0) + 1;
      const batch = await peer.log({ origin, from, bytesMax: 1 + random.integer(400) });
      if (batch) await alike("apply", (store) => store.apply(batch.bytes));
    } else if (action < 7) {
      await clock.advance(pick([10, 50, 200]));
    } else if (action < 9) {
      const query = {
        stream: pick(["telemetry", "diary"]),
        limit: 1 + random.integer(40),
        ...(random.float() < 0.4 ? { fromMs: random.integer(1000) } : {}),
        ...(random.float() < 0.4 ? { toMs: random.integer(1000) } : {}),
        ...(random.float() < 0.3 ? { newest: 1 + random.integer(60) } : {}),
      };
      const isOn = !("newest" in query) && cursors.length > 0 && random.float() < 0.7;
      const after = isOn ? pick(cursors) : [];
      const next: string[] = [];
      await alike(`read ${JSON.stringify({ ...query, after })}`, async (store, index) => {
        const { entries, cursor, ...rest } = await store.read({ ...query, after: after[index] });
        next[index] = cursor;
        return { ...rest, entries: entries.map((found) => shown({ ...found, cursor: "" })) };
      });
      if (next.length === 2) cursors.push(next);
    } else if (action === 9) {
      const vector = (await stores[0]?.vector()) ?? {};
      const origin = pick(Object.keys(vector));
      const from = 1 + random.integer((vector[origin] ?? 0) + 2);
      const bytesMax = 1 + random.integer(2000);
      await alike(`log of ${origin} from ${from}`, async (store) => {
        const batch = await store.log({ origin, from, bytesMax });
        const plain = batch && decodeBatch(batch.bytes);
        return plain && { ...plain, entries: plain.entries.map(shown) };
      });
    } else if (action === 10) {
      const vector = (await stores[0]?.vector()) ?? {};
      const hub = Object.fromEntries(
        Object.entries(vector).map(([origin, top]) => [origin, random.integer(top + 1)]),
      );
      await alike("hub", (store) => store.markHub(hub));
      await alike("backlog", async (store) =>
        (await store.status()).streams.map(({ name, entries, backlog }) => [
          name,
          entries,
          backlog,
        ]),
      );
    } else if (step % 5 === 0) {
      await alike("rotate", async (store) => {
        const { origin, vector } = await store.status();
        const other = [entry(step, { stream: "diary", producer: "of another life" })];
        return hearPeer(store, {
          vector: async () => ({ [origin]: (vector[origin] ?? 0) + 3 }),
          log: async ({ from }) => {
            const entries = other.map((one) => ({
              ...one,
              atMs: 1,
              position: { origin, sequence: from },
            }));
            const bytes = encodeBatch({ origin, from, to: from, entries });
            return { origin, from, to: from, entries: 1, bytes };
          },
        });
      });
    } else {
      await Promise.all(stores.map((store) => store.close()));
      stores = await openBoth();
    }
  }
  await alike("all of telemetry", (store) => keysOf(store));
  await Promise.all([...stores, peer].map((store) => store.close()));
  const [sealed, rows] = paths.map(look);
  assert.ok((sealed?.segments ?? 0) > 3, JSON.stringify(sealed));
  assert.equal(rows?.segments, 0);
}

test("S2: a time is found in one page however many segments lie before and behind it, whatever the order they came in", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const store = await open(path);
  const random = seededRandom(11);
  // Roughly in order, and one in 900 came years late.
  const times = range(1, 22_000).map((n) =>
    n % 900 === 0 ? random.integer(30_000) : 1_000_000 + n + random.integer(20),
  );
  for (const first of [1, 10_001, 20_001])
    await store.append(
      range(first, Math.min(first + 9999, times.length)).map((n) =>
        entry(n, { atMs: times[n - 1] ?? 0 }),
      ),
    );
  for (const [fromMs, toMs] of [
    [0, 30_000],
    [0, 1],
    [1_000_000, 1_000_030],
    [1_014_990, 1_015_010],
    [1_021_995, 2_000_000],
    [3_000_000, 4_000_000],
  ] as const) {
    const page = await store.read({ stream: "telemetry", fromMs, toMs });
    const wanted = times.flatMap((at, index) => (at >= fromMs && at < toMs ? [index + 1] : []));
    assert.deepEqual(
      page.entries.map(({ key }) => key?.sequence),
      wanted,
      `${fromMs} to ${toMs}`,
    );
    assert.equal(page.more, false);
  }
  await store.close();
  assert.equal(look(path).segments, 2200);
});

test("S3, D4, D6: a damaged segment is named with its range, in reads and in the log; what it holds stays a duplicate", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const clock = createSimulatedClock();
  let store = await open(path, { clock });
  await store.append(range(1, 60).map((n) => entry(n, { atMs: n })));
  await letSeal(clock, 5);
  const { origin } = await store.status();
  await store.close();
  spoil(path, 2);
  store = await open(path, { clock });
  const damageAfter = async (after?: string) => {
    const error: unknown = await store.read({ stream: "telemetry", after }).catch((e) => e);
    assert.ok(error instanceof SkerryError && error.code === "segment-damaged", String(error));
    return { message: error.message, after: /after=(\S+)/.exec(error.hint ?? "")?.[1] };
  };
  const first = await damageAfter();
  assert.match(first.message, /telemetry: 10 entries of 1970.*\(n1\.\w+ 1-10\)/);
  const second = await damageAfter(first.after);
  const behind = await store.read({ stream: "telemetry", after: second.after });
  assert.equal(behind.entries[0]?.key?.sequence, 21);
  assert.deepEqual(
    (await store.status()).damaged.map(({ entries, fromMs, toMs }) => [entries, fromMs, toMs]),
    [
      [10, 1, 10],
      [10, 11, 20],
    ],
  );
  for (const from of [1, 15])
    await assert.rejects(store.log({ origin, from }), { code: "segment-damaged" });
  assert.equal((await store.log({ origin, from: 21 }))?.entries, 40);
  const resend = await store.append([entry(5), entry(61)]);
  assert.deepEqual(resend.state === "stored" && [resend.stored, resend.duplicates, resend.cover], [
    1,
    1,
    { [origin]: 10, [(await store.status()).origin]: 1 },
  ]);
  const alone = await store.append([entry(5)]);
  assert.deepEqual(alone.state === "stored" && alone.cover, { [origin]: 10 });
  await store.close();
});

test("S3, D7: what is damaged here is no sign of another past", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const clock = createSimulatedClock();
  const store = await open(path, { clock });
  await store.append(range(1, 60).map((n) => entry(n, { atMs: n })));
  await letSeal(clock, 5);
  const { origin } = await store.status();
  spoil(path, 2);
  await assert.rejects(store.log({ origin, from: 5 }), { code: "segment-damaged" });
  const told = { [origin]: 5 };
  const { ask } = await store.observe(told, { state: "met" });
  assert.ok(ask);
  const entries = [{ ...entry(5), atMs: 5, position: { origin, sequence: 5 } }];
  const piece = encodeBatch({ origin, from: 5, to: 5, entries });
  assert.deepEqual(await store.observe(told, { state: "shown", ask, piece }), {
    origin,
    rotated: false,
  });
  await store.close();
});

test("a store of the layout before segments opens, answers as before, and seals what it holds", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const clock = createSimulatedClock();
  const before = await open(path, { clock, sealing: never });
  await before.append(range(1, 50).map((n) => entry(n, { atMs: n })));
  const peer = await open(join(folder.path, "p.db"), { clock, node: "n2", seed: 2 });
  await peer.append(range(41, 60).map((n) => entry(n, { atMs: n })));
  const { origin } = await peer.status();
  await before.apply((await peer.log({ origin, from: 1 }))?.bytes ?? new Uint8Array());
  const cursor = (await before.read({ stream: "telemetry", limit: 30 })).cursor;
  await before.close();
  toLayout1(path);

  const store = await open(path, { clock });
  assert.deepEqual(
    await keysOf(store, { after: cursor }),
    range(31, 60).map((n) => `p1/1/${n}`),
  );
  await letSeal(clock, 8);
  assert.deepEqual(
    await keysOf(store),
    range(1, 60).map((n) => `p1/1/${n}`),
  );
  // The other node's log, half of it under this node's positions, is whole all the same.
  const log = await store.log({ origin, from: 1 });
  assert.deepEqual([log?.to, log?.entries], [20, 20]);
  const resend = await store.append([entry(1), entry(50), entry(61)]);
  assert.deepEqual(resend.state === "stored" && [resend.stored, resend.duplicates], [1, 2]);
  await store.close();
  assert.deepEqual(look(path), { segments: 5, rows: 11 });
  await peer.close();
});

/** Takes away what later layouts added: the file is then one that the version before wrote. */
function toLayout1(path: string): void {
  const db = openDatabase(path);
  const added = [
    "segment",
    "segment_bytes",
    "segment_plan",
    "segment_again",
    "hub_lane",
    "piece",
    "run",
  ];
  for (const table of [...added, "consumer"]) db.exec(`DROP TABLE ${table}`);
  db.exec("ALTER TABLE alias DROP COLUMN segment");
  db.exec("ALTER TABLE stream DROP COLUMN dropped_when_full; PRAGMA user_version = 1");
  db.close();
}
