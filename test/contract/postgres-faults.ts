/** What goes wrong in or at a PostgreSQL that stays up, and what the hub's store does then. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { openPostgresStore, type GlobalStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { openPostgres, parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import type { WallMs } from "../../src/lib/brand.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { range } from "../support/data.ts";
import type { TestPostgres } from "../support/postgres.ts";
import { smallPostgresDisk } from "../support/postgres-small-disk.ts";
import { waitFor } from "../support/wait.ts";
import { batch, readAllOf } from "./data-global.ts";

/** For a machine that is shared and slow. */
const timeoutMs = 60_000;
const dayMs = 86_400_000;

export function postgresFaults(server: () => TestPostgres): void {
  const open = (url: string, options: { retentionAgeMs?: number; daysAgo?: number } = {}) => {
    const { daysAgo = 0, ...rest } = options;
    const clock = {
      ...systemClock,
      wallMs: () => (systemClock.wallMs() - daysAgo * dayMs) as WallMs,
    };
    return openPostgresStore(
      { clock, random: systemRandom, log: silentLog, recheck: createRecheck() },
      { address: parsePostgresUrl(url), ...rest },
    );
  };
  const admin = async (url: string, statement: string) => {
    await using database = await server().open(url);
    return await database.use((session) => session.script(statement));
  };
  /** Of a session that waits for a lock no longer than this, as an administrator may set it. */
  const impatientUrl = async () => {
    const url = await server().freshUrl();
    const name = new URL(url).pathname.slice(1);
    await admin(url, `ALTER DATABASE ${name} SET lock_timeout = '200ms'`);
    return url;
  };

  test("more work than connections waits, bounded in number and time, and nothing stands still for ever", async () => {
    const clock = createSimulatedClock();
    const pool = await openPostgres(
      { clock, log: silentLog },
      parsePostgresUrl(await server().freshUrl()),
      { application: "test", connectionsMax: 2 },
    );
    try {
      const held = Promise.withResolvers<void>();
      let working = 0;
      const hold = () =>
        pool.use(async () => {
          working++;
          await held.promise;
        });
      const holders = [hold(), hold()];
      await waitFor(() => working === 2, { what: "both connections to be in use", timeoutMs });
      const waiting = range(1, 1024).map(() => pool.use(async () => "done"));
      const settled = Promise.allSettled(waiting);
      const refused = { code: "store-busy", retryable: true };
      await assert.rejects(
        pool.use(async () => "done"),
        refused,
      );
      await clock.advance(20_000);
      assert.deepEqual(
        [...new Set((await settled).map((one) => one.status === "rejected" && one.reason.code))],
        ["store-busy"],
      );
      const next = pool.use(async (session) => session.query("SELECT 1 AS one"));
      held.resolve();
      await Promise.all(holders);
      assert.deepEqual(await next, [{ one: 1 }]);
    } finally {
      await pool.close();
    }
  });

  test("work that is given up leaves its connection, and is not begun once it was given up", async () => {
    await using pool = await server().open(await server().freshUrl());
    const stop = new AbortController();
    let begun = 0;
    const work = range(1, 3).map(() =>
      pool.use(
        async (session) => {
          begun++;
          await session.query("SELECT pg_sleep(60)");
        },
        { signal: stop.signal },
      ),
    );
    const ended = Promise.allSettled(work);
    await waitFor(() => begun === 2, { what: "both connections to be in use", timeoutMs });
    stop.abort(new Error("given up"));
    assert.deepEqual(
      (await ended).map(
        (one) => one.status === "rejected" && (one.reason.code ?? one.reason.message),
      ),
      ["database-unreachable", "database-unreachable", "given up"],
    );
    assert.equal(begun, 2);
    assert.deepEqual(await pool.use((session) => session.query("SELECT 1 AS one")), [{ one: 1 }]);
  });

  test("reads, batches and retention at once, many times the connections, all come to an end", async () => {
    const store = await open(await server().freshUrl(), { retentionAgeMs: 8 * dayMs });
    try {
      await store.ingest("a", batch("n1.x", 1, 10));
      await Promise.all(
        range(1, 40).flatMap((n): Promise<unknown>[] => [
          store.ingest(`c${n}`, batch("n1.x", 1, 10)),
          store.read({ stream: "telemetry" }),
          store.vector("a"),
          store.retain(),
        ]),
      );
      assert.equal((await readAllOf(store, { limit: 1000 })).length, 410);
    } finally {
      await store.close();
    }
  });

  test("D1: what somebody else's transaction holds locked is refused in time, and taken afterwards", async () => {
    const url = await impatientUrl();
    const store = await open(url);
    await using other = await server().open(url);
    try {
      await store.ingest("a", batch("n1.x", 1, 10));
      for (const lock of [
        "LOCK TABLE skerry.entry IN ACCESS EXCLUSIVE MODE",
        "SELECT FROM skerry.cell FOR UPDATE",
        "SELECT FROM skerry.view FOR UPDATE",
      ])
        await other.transaction(async (session) => {
          await session.query(lock);
          await assert.rejects(store.ingest("a", batch("n1.x", 11, 20)), {
            code: "database-busy",
            retryable: true,
          });
        });
      assert.equal((await store.ingest("a", batch("n1.x", 1, 20))).stored, 10);
      await assert.rejects(
        other.use(async (session) => {
          await session.query("SET statement_timeout = '50ms'");
          await session.query("SELECT pg_sleep(60)");
        }),
        { code: "database-busy", retryable: true },
      );
    } finally {
      await store.close();
    }
  });

  /** A store whose 1000 first entries came 20 days ago, in a partition of their own. */
  const withOldEntries = async (
    url: string,
    work: (store: GlobalStore) => Promise<void>,
  ): Promise<void> => {
    const past = await open(url, { retentionAgeMs: 8 * dayMs, daysAgo: 20 });
    await past.ingest("a", batch("n1.x", 1, 1000));
    await past.close();
    const moved = (table: string) =>
      `UPDATE skerry.${table} SET batch = batch - ${20 * dayMs}::bigint * 1024;`;
    await admin(url, ["entry", "piece", "seen"].map(moved).join("\n"));
    const store = await open(url, { retentionAgeMs: 8 * dayMs });
    try {
      await store.ingest("a", batch("n1.x", 1001, 1100));
      await work(store);
    } finally {
      await store.close();
    }
  };
  const partsOf = async (url: string) => {
    const [rows = []] = await admin(
      url,
      `SELECT count(*) AS parts, (SELECT count(*) FROM pg_class WHERE relname LIKE 'entry_20%_0' AND relkind = 'r') AS tables
       FROM skerry.part`,
    );
    return rows[0];
  };

  test("D8: a partition past its time goes whole, and what cells were told is durable stays known", async () => {
    const url = await server().freshUrl();
    await withOldEntries(url, async (store) => {
      assert.deepEqual(await partsOf(url), { parts: 4, tables: 4 });
      assert.equal((await readAllOf(store, { limit: 5000 })).length, 1100);
      assert.deepEqual(await store.retain(), { removed: 1000 });
      assert.deepEqual(
        await readAllOf(store),
        range(1001, 1100).map((n) => `a p1/1/${n}`),
      );
      assert.deepEqual(await partsOf(url), { parts: 2, tables: 2 });
      assert.deepEqual(
        (await store.streams()).map(({ entries, bytes }) => [entries, bytes]),
        [[100, 100 * 90]],
      );
      // By the position of the log, not by the key, which is forgotten with the partition.
      assert.deepEqual(await store.vector("a"), { "n1.x": 1100 });
      assert.equal((await store.ingest("a", batch("n1.x", 1, 1000))).stored, 0);
      assert.deepEqual(await store.retain(), { removed: 0 });
    });
  });

  test("D8: a reader of what is old holds up its removal and nothing else, and a half of it is finished", async () => {
    const url = await impatientUrl();
    await withOldEntries(url, async (store) => {
      await using reader = await server().open(url);
      await reader.transaction(async (session) => {
        await session.query("SELECT count(*) FROM skerry.entries");
        const sweep = store.retain();
        const swept = new AbortController();
        void sweep.finally(() => swept.abort());
        let top = 1100;
        do {
          await store.ingest("a", batch("n1.x", top + 1, top + 10));
          top += 10;
        } while (!swept.signal.aborted);
        assert.deepEqual(await sweep, { removed: 0 });
        assert.equal((await store.vector("a"))["n1.x"], top);
        // Another sweep finds it detached half, by a reader that is still there.
        assert.deepEqual(await store.retain(), { removed: 0 });
      });
      assert.deepEqual(await store.retain(), { removed: 1000 });
      assert.equal((await readAllOf(store, { limit: 1000 }))[0], "a p1/1/1001");
    });
  });

  test("D1: a full disk of PostgreSQL refuses, loses nothing, and takes entries when there is space", async () => {
    await using disk = await smallPostgresDisk(server(), {
      name: "small",
      table: "skerry.entry",
    });
    const store = await open(disk.url);
    try {
      await store.ingest("a", batch("n1.x", 1, 10));
      await disk.fill();
      let top = 10;
      await assert.rejects(
        async () => {
          for (;;) {
            await store.ingest("a", batch("n1.x", top + 1, top + 500));
            top += 500;
          }
        },
        { code: "disk-full", retryable: true },
      );
      assert.deepEqual(await store.vector("a"), { "n1.x": top });
      await disk.free();
      assert.equal((await store.ingest("a", batch("n1.x", top - 9, top + 500))).stored, 500);
      assert.equal((await readAllOf(store, { limit: 10_000 })).length, top + 500);
    } finally {
      await store.close();
    }
  });
}
