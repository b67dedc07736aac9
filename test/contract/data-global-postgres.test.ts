/** The hub's store on a real PostgreSQL: the suite of every store, and what only this one promises. */
import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { openPostgresStore, type GlobalStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import { range } from "../support/data.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { waitFor } from "../support/wait.ts";
import { batch, globalStoreSuite, readAllOf } from "./data-global.ts";
import { postgresFaults } from "./postgres-faults.ts";
import { postgresReads } from "./postgres-reads.ts";

/** For a machine that is shared and slow. */
const timeoutMs = 60_000;
let server: TestPostgres;
before(async () => {
  server = await startPostgres({ host: "127.0.64.1" });
});
after(() => server[Symbol.asyncDispose]());

const open = async (url: string, options: { streamBytesMax?: number } = {}) =>
  openPostgresStore(
    { clock: systemClock, random: systemRandom, log: silentLog, recheck: createRecheck() },
    { address: parsePostgresUrl(url), ...options },
  );

globalStoreSuite("on PostgreSQL", async () => {
  const url = await server.freshUrl();
  const store = await open(url);
  return { store, stop: () => store.close(), files: { address: parsePostgresUrl(url) } };
});

async function withStores(
  count: number,
  work: (stores: readonly GlobalStore[], url: string) => Promise<void>,
): Promise<void> {
  const url = await server.freshUrl();
  // At once: they meet at the making of the tables.
  const stores = await Promise.all(range(1, count).map(() => open(url)));
  try {
    await work(stores, url);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}
const first = ([store]: readonly GlobalStore[]) => store as GlobalStore;

test("D4, D5: several stores on one database take the same entries once, and no cursor is passed", () =>
  withStores(3, async (stores) => {
    const grown: string[] = [];
    first(stores).on("grown", (changes) => grown.push(...changes.map(({ cell }) => cell)));
    const seen: string[] = [];
    const sending = new AbortController();
    const reader = (async () => {
      let after: string | undefined;
      for (let more = true; more || !sending.signal.aborted;) {
        const page = await first(stores)
          .read({ stream: "telemetry", ...(after === undefined ? {} : { after }), limit: 50 })
          .catch((error: { code: string }) => {
            // Until the first entry is there.
            assert.equal(error.code, "stream-unknown");
            return undefined;
          });
        if (!page) continue;
        seen.push(...page.entries.map(({ cell, key }) => `${cell} ${key?.sequence}`));
        after = page.cursor;
        ({ more } = page);
      }
    })();
    // Two nodes of each cell, with overlapping keys, at all stores at once, and each batch twice.
    const sent = range(0, 19).flatMap((step) =>
      ["a", "b", "c"].flatMap((cell) =>
        stores.flatMap((store) => [
          { store, cell, bytes: batch("n1.x", step * 20 + 1, step * 20 + 20) },
          {
            store,
            cell,
            bytes: batch("n2.y", step * 20 + 1, step * 20 + 20, { keysFrom: step * 20 + 11 }),
          },
        ]),
      ),
    );
    for (const step of range(0, 19)) {
      const all = sent.slice(step * 18, step * 18 + 18);
      await Promise.all(all.map(({ store, cell, bytes }) => store.ingest(cell, bytes)));
    }
    sending.abort();
    await reader;
    const expected = ["a", "b", "c"].flatMap((cell) => range(1, 410).map((n) => `${cell} ${n}`));
    assert.deepEqual(seen.toSorted(), expected.toSorted());
    assert.deepEqual(
      (await first(stores).streams()).map(({ cell, entries }) => `${cell} ${entries}`),
      ["a 410", "b 410", "c 410"],
    );
    // By another store's commit.
    grown.length = 0;
    await stores[1]?.ingest("d", batch("n1.x", 1, 1));
    await waitFor(() => grown.includes("d"), {
      what: "word of another process's commit",
      timeoutMs,
    });
  }));

test("D1, D2: killed in the middle of ingest, PostgreSQL comes back with all that was acknowledged, once", () =>
  withStores(1, async (stores) => {
    const store = first(stores);
    let top = 0;
    let failures = 0;
    const send = async () => {
      // Until the kill has met it, however late that comes.
      while (top < 20_000 || failures === 0) {
        try {
          const answer = await store.ingest("a", batch("n1.x", top + 1, top + 500));
          assert.ok(answer.top > top, "what is acknowledged never goes back");
          top = answer.top;
        } catch (error) {
          failures++;
          assert.ok((error as { retryable?: boolean }).retryable, String(error));
          // As a cell does: from where the hub says it is.
          const vector = await store.vector("a").catch(() => undefined);
          if (vector) top = vector["n1.x"] ?? 0;
          else await systemClock.sleep(50);
        }
      }
    };
    const sending = send();
    await waitFor(() => top >= 3000, { what: "some entries to be taken", timeoutMs });
    const acknowledged = top;
    await server.kill();
    await waitFor(() => failures > 0, { what: "a refusal", timeoutMs });
    await assert.rejects(store.streams(), { code: "database-unreachable" });
    await server.start();
    await sending;
    assert.ok(acknowledged >= 3000);
    assert.deepEqual(
      await readAllOf(store, { limit: 5000 }),
      range(1, top).map((n) => `a p1/1/${n}`),
    );
  }));

test("a batch that PostgreSQL cannot hold is refused, and those beside it are taken", () =>
  withStores(1, async (stores) => {
    const store = first(stores);
    const bad = batch("n9.x", 1, 3, { stream: "tele\0metry" });
    const all = await Promise.allSettled([
      store.ingest("a", batch("n1.x", 1, 10)),
      store.ingest("a", bad),
      store.ingest("b", batch("n1.x", 1, 10)),
    ]);
    assert.deepEqual(
      all.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    await assert.rejects(store.ingest("a", bad), { code: "invalid-batch" });
  }));

test("D8: a stream that is too large loses its oldest entries, and their keys stay known", () =>
  withStores(1, async (_, url) => {
    const store = await open(url, { streamBytesMax: 90 * 1000 });
    try {
      for (const step of range(0, 19))
        await store.ingest("a", batch("n1.x", step * 100 + 1, step * 100 + 100));
      assert.deepEqual(await store.retain(), { removed: 1000 });
      assert.deepEqual(
        await readAllOf(store),
        range(1001, 2000).map((n) => `a p1/1/${n}`),
      );
      assert.deepEqual(
        (await store.streams()).map(({ entries, bytes }) => [entries, bytes]),
        [[1000, 90_000]],
      );
      assert.equal((await store.ingest("a", batch("n2.y", 1, 2000))).stored, 0);
      const page = await store.read({ stream: "telemetry", newest: 3 });
      assert.deepEqual(
        page.entries.map(({ key }) => key?.sequence),
        [1998, 1999, 2000],
      );
    } finally {
      await store.close();
    }
  }));

postgresFaults(() => server);
postgresReads(
  () => server,
  (work) => withStores(1, (stores, url) => work(first(stores), url)),
);
