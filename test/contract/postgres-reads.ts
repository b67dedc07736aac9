/** What reading the hub's streams costs PostgreSQL and whoever asks it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  createGlobalQueries,
  openPostgresDocuments,
  type GlobalStore,
} from "../../src/data/index.ts";
import {
  ask,
  findStreams,
  readPage,
  toStreamRow,
  type Page,
} from "../../src/data/global/postgres/reads.ts";
import { checkEntriesQuery, checkQuery } from "../../src/data/queries/check.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import { range } from "../support/data.ts";
import type { TestPostgres } from "../support/postgres.ts";
import { waitFor } from "../support/wait.ts";
import { batch } from "./data-global.ts";

/** For a machine that is shared and slow. */
const timeoutMs = 60_000;

/** A page of `telemetry`, and what it took. */
type Cost = {
  readonly page: Page;
  /** What PostgreSQL answered. */
  readonly bytes: number;
  /** Whose entries were looked at. */
  readonly batches: number;
};

export function postgresReads(
  server: () => TestPostgres,
  withStore: (work: (store: GlobalStore, url: string) => Promise<void>) => Promise<void>,
): void {
  const pagesOf = async (
    url: string,
    query: { fromMs: number; toMs: number; limit: number },
  ): Promise<Cost[]> => {
    await using database = await server().open(url);
    return await database.use(async (session) => {
      const streams = (await ask(session, findStreams({ name: "telemetry" }))).map(toStreamRow);
      const costs: Cost[] = [];
      for (let afterId = 0, more = true; more;) {
        let bytes = 0;
        let batches = 0;
        const counting: typeof session = {
          ...session,
          async query(text, values = []) {
            if (text.includes("skerry.entry")) batches += (values[0] as unknown[]).length;
            const rows = await session.query(text, values);
            for (const row of rows) bytes += Buffer.byteLength(JSON.stringify(row));
            return rows;
          },
        };
        const page = await ask(counting, readPage({ streams, afterId, ...query }));
        costs.push({ page, bytes, batches });
        ({ lastId: afterId, more } = page);
      }
      return costs;
    });
  };
  const sequencesOf = (costs: readonly Cost[]) =>
    costs.flatMap(({ page }) => page.rows.map(({ key }) => key?.sequence));

  test("D9: of large entries PostgreSQL answers those of a page, and no bodies behind them", () =>
    withStore(async (store, url) => {
      const total = 100;
      // 200 KiB, of two bytes a character: neither side counts characters.
      const body = { n: "ä".repeat(100 * 1024) };
      for (let from = 1; from <= total; from += 10)
        await store.ingest("a", batch("n1.x", from, from + 9, { body }));
      const costs = await pagesOf(url, { fromMs: 0, toMs: Date.UTC(2100), limit: 500 });
      for (const { bytes } of costs)
        assert.ok(bytes < 2 * 1024 * 1024, `${bytes} bytes were answered for a page`);
      assert.deepEqual(sequencesOf(costs), range(1, total));
      // 1 MiB is reached by the sixth of a page.
      assert.equal(costs.length, Math.ceil(total / 6));
    }));

  test("D9: a page looks at as many batches as fill it", () =>
    withStore(async (store, url) => {
      const total = 300;
      for (let from = 1; from <= total; from += 10)
        await store.ingest("a", batch("n1.x", from, from + 9));
      const limit = 25;
      for (const first of [1, 7]) {
        const costs = await pagesOf(url, { fromMs: first * 1000, toMs: total * 1000, limit });
        for (const { page, batches } of costs) {
          // Three that are whole, and those in which the page before or the time asked for begins.
          assert.ok(batches <= 5, `${batches} batches were looked at for ${limit} entries`);
          assert.ok(!page.more || page.rows.length === limit, "pages are full");
        }
        assert.deepEqual(sequencesOf(costs), range(first, total - 1));
      }
    }));

  test("Q5: a query over streams that PostgreSQL lets wait holds up none over documents", () =>
    withStore(async (store, url) => {
      await store.ingest("a", batch("n1.x", 1, 5));
      const address = parsePostgresUrl(url);
      const deps = { clock: systemClock, random: systemRandom, log: silentLog };
      const recheck = createOperationRecheck();
      const documents = await openPostgresDocuments({ ...deps, recheck }, { address });
      const queries = createGlobalQueries(deps, { global: { address } });
      await using database = await server().open(url);
      try {
        let isAnswered = false;
        const asked = await database.transaction(async (session) => {
          await session.query("LOCK TABLE skerry.stream IN ACCESS EXCLUSIVE MODE");
          const query = checkEntriesQuery(undefined);
          const entries = queries.entries({ stream: "telemetry", query }).finally(() => {
            isAnswered = true;
          });
          entries.catch(() => undefined);
          await waitFor(
            async () => {
              const waiting = await session.query("SELECT 1 FROM pg_locks WHERE NOT granted");
              return waiting.length > 0;
            },
            { what: "the query over streams to wait", timeoutMs },
          );
          await assert.rejects(
            queries.documents({ collection: "none", query: checkQuery(undefined) }),
            { code: "collection-unknown" },
          );
          assert.equal(isAnswered, false);
          return { entries };
        });
        assert.equal((await asked.entries).rows.length, 5);
      } finally {
        await queries.stop();
        await documents.close();
      }
    }));
}
