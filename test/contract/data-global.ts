/** The suite that every GlobalStore passes: on SQLite and PostgreSQL, in place and behind its thread. */
import { strict as assert } from "node:assert";
import { describe, test } from "node:test";
import type { StoredEntry } from "../../src/api/index.ts";
import {
  encodeBatch,
  type GlobalQuery,
  type GlobalStore,
  type LogBatch,
} from "../../src/data/index.ts";
import { openGlobalQueries, type GlobalQueryFiles } from "../../src/data/global/queries.ts";
import { checkEntriesQuery } from "../../src/data/queries/check.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { entry, keyText, range, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

/** A store of its own; `folder` is empty and stays until it was stopped. */
export type OpenGlobalStore = (folder: string) => Promise<{
  store: GlobalStore;
  stop(): Promise<void>;
  /** Where queries find it. */
  files: GlobalQueryFiles["global"];
}>;

export function batch(
  origin: string,
  from: number,
  to: number,
  options: { keysFrom?: number; stream?: string; body?: unknown } = {},
) {
  const { keysFrom = from, stream = "telemetry", body } = options;
  return encodeBatch({
    origin,
    from,
    to,
    entries: range(from, to).map((sequence) => ({
      ...entry(keysFrom + sequence - from, { stream, body }),
      atMs: sequence * 1000,
      position: { origin, sequence },
    })),
    policies: { [stream]: { keep: ["n"] } },
  });
}

/**
 * Batches of one cell as they come of two nodes over a bad link: large and small, of several streams,
 * some again, some overlapping, some with keys that the other node sent.
 */
export function mixedBatches(seed: number, count: number): MixedBatch[] {
  const random = seededRandom(seed);
  const streams = ["telemetry", "alarms"];
  const logs = new Map<string, StoredEntry[]>([
    ["n1.x", []],
    ["n2.y", []],
  ]);
  const nextByProducer = new Map<string, number>();
  const placed = (origin: string, sequence: number): StoredEntry => {
    const stream = streams[random.integer(10) === 0 ? 1 : 0] ?? "";
    const other = logs.get(origin === "n1.x" ? "n2.y" : "n1.x") ?? [];
    const copied =
      random.integer(1500) === 0 ? other[random.integer(other.length || 1)] : undefined;
    const producer = `p${random.integer(3)}`;
    // Mostly in order, as producers count.
    const next =
      (nextByProducer.get(`${stream}/${producer}`) ?? 0) + 1 + (random.integer(50) === 0 ? 2 : 0);
    if (!copied) nextByProducer.set(`${stream}/${producer}`, next);
    const keyed = random.integer(20) > 0 ? { key: { producer, epoch: 1, sequence: next } } : {};
    const at = { atMs: sequence * 1000, position: { origin, sequence } };
    if (copied?.key) return { ...copied, ...at };
    return { stream, ...keyed, ...at, body: Buffer.from(JSON.stringify({ n: sequence })) };
  };
  return range(1, count).map(() => {
    const [origin = "", log = []] = [...logs][random.integer(2)] ?? [];
    const again = Math.min(log.length, random.integer(4) === 0 ? random.integer(50) : 0);
    const from = log.length - again + 1;
    const fresh = random.integer(3) === 0 ? random.integer(9) : 100 + random.integer(300);
    const to = log.length + fresh;
    while (log.length < to) log.push(placed(origin, log.length + 1));
    const entries = log.slice(from - 1, to);
    const policy = { keep: ["n"] };
    const policies = Object.fromEntries(streams.map((stream) => [stream, policy]));
    return {
      origin,
      from,
      to,
      entries,
      bytes: encodeBatch({ origin, from, to, entries, policies }),
    };
  });
}
export type MixedBatch = LogBatch & { readonly bytes: Uint8Array };

/** By stream, what a store that took these batches holds, in this order: the naive model. */
export function expectedOf(batches: readonly MixedBatch[]): Record<string, string[]> {
  const lines: Record<string, string[]> = {};
  const tops = new Map<string, number>();
  const keys = new Set<string>();
  for (const { origin, to, entries } of batches) {
    for (const item of entries) {
      const { stream, key, position } = item;
      if (position.sequence <= (tops.get(origin) ?? 0)) continue;
      const name = key && `${stream}/${key.producer}/${key.epoch}/${key.sequence}`;
      if (name !== undefined && keys.has(name)) continue;
      if (name !== undefined) keys.add(name);
      (lines[stream] ??= []).push(lineOf(item));
    }
    tops.set(origin, Math.max(tops.get(origin) ?? 0, to));
  }
  return lines;
}
const lineOf = ({ key, position, body, atMs }: StoredEntry): string =>
  `${position.origin} ${position.sequence} ${key ? `${key.producer}/${key.sequence}` : "-"} ${atMs} ${Buffer.from(body).toString()}`;

export async function linesOf(store: GlobalStore, cell: string): Promise<Record<string, string[]>> {
  const lines: Record<string, string[]> = {};
  for (let after: string | undefined; ;) {
    const page = await store.read({ cell, limit: 700, ...(after === undefined ? {} : { after }) });
    for (const item of page.entries) (lines[item.stream] ??= []).push(lineOf(item));
    after = page.cursor;
    if (!page.more) return lines;
  }
}

export async function readAllOf(
  store: GlobalStore,
  query: Partial<GlobalQuery> = {},
): Promise<string[]> {
  const all: string[] = [];
  let { after } = query;
  for (;;) {
    const page = await store.read({ stream: "telemetry", ...query, after });
    all.push(...page.entries.map((item) => `${item.cell} ${keyText(item)}`));
    after = page.cursor;
    if (!page.more) return all;
  }
}

export function globalStoreSuite(name: string, open: OpenGlobalStore): void {
  describe(`global store ${name}`, () => {
    const withStore = async (
      work: (store: GlobalStore, files: GlobalQueryFiles["global"]) => Promise<void>,
    ) => {
      using folder = temporaryFolder();
      const { store, stop, files } = await open(folder.path);
      try {
        await work(store, files);
      } finally {
        await stop();
      }
    };

    test("Q1, P6: entries of all cells, or of one, are filtered, paged and measured in windows of time", () =>
      withStore(async (store, global) => {
        type Row = { cell: string; at: string; body: { n: number; celsius: number } };
        const all: (Row & { atMs: number })[] = [];
        // Some are rows and some are sealed, and those of cells come in turn.
        const sizes = [3, 250, 40, 120, 1, 300];
        const tops = new Map<string, number>();
        for (const [at, size] of sizes.entries())
          for (const cell of ["a", "b"]) {
            if (cell === "b" && at % 2 === 1) continue;
            const from = (tops.get(cell) ?? 0) + 1;
            tops.set(cell, from + size - 1);
            const entries = range(from, from + size - 1).map((n) => {
              const atMs = n * 1000;
              const body = { n, celsius: (n * 7) % 30 };
              all.push({ cell, at: new Date(atMs).toISOString(), body, atMs });
              return {
                ...entry(n, { body }),
                atMs,
                position: { origin: `n1.${cell}`, sequence: n },
              };
            });
            const origin = `n1.${cell}`;
            const policies = { telemetry: { keep: ["n", "celsius"] } };
            const to = from + size - 1;
            await store.ingest(cell, encodeBatch({ origin, from, to, entries, policies }));
          }
        await store.ingest("a", batch("n2.a", 1, 5, { stream: "alarms" }));
        const engine = openGlobalQueries({ clock: systemClock }, { global });
        const ask = async (request: Record<string, unknown>, cell?: string) => {
          const query = checkEntriesQuery({ timeoutMs: 30_000, ...request } as never);
          const of = cell === undefined ? {} : { cell };
          const { rows, cursor } = await engine.entries({ stream: "telemetry", ...of, query });
          return { rows: rows.map((row): unknown => JSON.parse(row)), cursor };
        };
        const pages = async (request: Record<string, unknown>, cell?: string) => {
          const rows: Row[] = [];
          for (let cursor: string | undefined; ;) {
            const page = await ask({ ...request, ...(cursor ? { cursor } : {}) }, cell);
            rows.push(
              ...(page.rows as Row[]).map((row) => ({
                cell: row.cell,
                at: row.at,
                body: row.body,
              })),
            );
            ({ cursor } = page);
            if (cursor === undefined) return rows;
          }
        };
        const plain = (of: typeof all) => of.map(({ cell, at, body }) => ({ cell, at, body }));
        try {
          assert.deepEqual(await pages({ limit: 97 }), plain(all));
          assert.deepEqual(
            await pages({ limit: 50 }, "b"),
            plain(all.filter(({ cell }) => cell === "b")),
          );
          const where = 'celsius >= 20 and "/@cell" = "a"';
          const [from, to] = [100, 300].map((second) => new Date(second * 1000).toISOString());
          const holds = ({ cell, atMs, body }: (typeof all)[number]) =>
            cell === "a" && body.celsius >= 20 && atMs >= 100_000 && atMs < 300_000;
          assert.deepEqual(await pages({ where, from, to, limit: 1000 }), plain(all.filter(holds)));

          const measured = new Map<string, { count: number; max: number }>();
          for (const { cell, atMs, body } of all) {
            const window = new Date(Math.floor(atMs / 60_000) * 60_000).toISOString();
            const { count, max } = measured.get(`${window} ${cell}`) ?? { count: 0, max: -1 };
            measured.set(`${window} ${cell}`, {
              count: count + 1,
              max: Math.max(max, body.celsius),
            });
          }
          const { rows } = await ask({
            window: "1m",
            by: ["/@cell"],
            aggregate: ["count", "max(celsius)"],
          });
          type Group = { group: Record<string, string>; values: Record<string, number> };
          const found = (rows as Group[]).map(({ group, values }): [string, unknown] => [
            `${group["window"]} ${group["/@cell"]}`,
            { count: values["count"], max: values["max(celsius)"] },
          ]);
          assert.deepEqual(new Map(found), measured);
          assert.equal(found.length, measured.size);

          await assert.rejects(ask({}, "c"), { code: "stream-unknown" });
          const query = checkEntriesQuery(undefined);
          await assert.rejects(engine.entries({ stream: "telemetri", query }), {
            code: "stream-unknown",
            hint: /telemetry/,
          });
        } finally {
          await engine.close();
        }
      }));

    test("Q1: entries of which few fill a page are found and measured as small ones are", () =>
      withStore(async (store, global) => {
        const total = 60;
        const note = "€".repeat(30_000);
        for (let from = 1; from <= total; from += 10) {
          const entries = range(from, from + 9).map((n) => ({
            // Every third is small: what fills a page differs.
            ...entry(n, { body: { n, ...(n % 3 === 0 ? {} : { note }) } }),
            atMs: n * 1000,
            position: { origin: "n1.a", sequence: n },
          }));
          const policies = { telemetry: { keep: ["n", "note"] } };
          const place = { origin: "n1.a", from, to: from + 9 };
          await store.ingest("a", encodeBatch({ ...place, entries, policies }));
        }
        const engine = openGlobalQueries({ clock: systemClock }, { global });
        const ask = async (request: Record<string, unknown>) => {
          const query = checkEntriesQuery({ timeoutMs: 30_000, ...request } as never);
          const { rows } = await engine.entries({ stream: "telemetry", query });
          return rows.map((row): unknown => JSON.parse(row));
        };
        try {
          const windows = await ask({ window: "20s", aggregate: ["count", "sum(n)"] });
          assert.deepEqual(
            (windows as { values: unknown }[]).map(({ values }) => values),
            [range(1, 19), range(20, 39), range(40, 59), [60]].map((ns) => ({
              count: ns.length,
              "sum(n)": ns.reduce((sum, n) => sum + n, 0),
            })),
          );
          const found = await ask({ where: "n > 7 and n < 55", fields: ["n"], limit: 1000 });
          assert.deepEqual(
            (found as { body: { n: number } }[]).map(({ body }) => body.n),
            range(8, 54),
          );
        } finally {
          await engine.close();
        }
      }));

    test("D2: what comes twice, late or with a gap changes nothing", () =>
      withStore(async (store) => {
        assert.deepEqual(await store.ingest("a", batch("n1.x", 1, 5)), {
          state: "applied",
          origin: "n1.x",
          top: 5,
          stored: 5,
        });
        assert.equal((await store.ingest("a", batch("n1.x", 1, 5))).stored, 0);
        assert.equal((await store.ingest("a", batch("n1.x", 3, 8))).stored, 3);
        assert.deepEqual(await store.ingest("a", batch("n1.x", 20, 25)), {
          state: "gap",
          origin: "n1.x",
          top: 8,
          stored: 0,
        });
        assert.deepEqual(await store.vector("a"), { "n1.x": 8 });
        assert.deepEqual(await store.vector("b"), {});
        assert.equal((await readAllOf(store)).length, 8);
      }));

    test("D4: a key stands once in its cell, whoever sends it, and once in every other cell", () =>
      withStore(async (store) => {
        await store.ingest("a", batch("n1.x", 1, 5));
        assert.equal((await store.ingest("a", batch("n2.y", 1, 5, { keysFrom: 3 }))).stored, 2);
        assert.equal((await store.ingest("b", batch("n1.x", 1, 5))).stored, 5);
        assert.deepEqual(
          await readAllOf(store, { cell: "a" }),
          range(1, 7).map((n) => `a p1/1/${n}`),
        );
        assert.equal((await readAllOf(store)).length, 12);
        assert.deepEqual(await store.streams(), [
          { cell: "a", name: "telemetry", entries: 7, bytes: 7 * 87 },
          { cell: "b", name: "telemetry", entries: 5, bytes: 5 * 87 },
        ]);
      }));

    test("D2, D3, D4: large and small batches of two nodes, mixed and again, against a naive model", () =>
      withStore(async (store) => {
        const batches = mixedBatches(11, 40);
        const answers = await Promise.all(
          batches.map(async ({ bytes }) => await store.ingest("a", new Uint8Array(bytes))),
        );
        const expected = expectedOf(batches);
        assert.deepEqual(await linesOf(store, "a"), expected);
        const stored = answers.reduce((sum, answer) => sum + answer.stored, 0);
        assert.equal(stored, Object.values(expected).flat().length);
        const counts = (await store.streams()).map(({ name: stream, entries }) => [
          stream,
          entries,
        ]);
        assert.deepEqual(
          Object.fromEntries(counts),
          Object.fromEntries(Object.entries(expected).map(([of, lines]) => [of, lines.length])),
        );
      }));

    test("P6: a batch that breaks its own policy is refused whole", () =>
      withStore(async (store) => {
        await assert.rejects(
          store.ingest("a", batch("n1.x", 1, 5, { body: { n: 1, name: "x" } })),
          { code: "egress-violated" },
        );
        await assert.rejects(store.ingest("a", Buffer.from("nonsense")), { code: "invalid-batch" });
        assert.deepEqual(await store.vector("a"), {});
        assert.deepEqual(await store.streams(), []);
      }));

    test("D5: all streams of all cells in the order of arrival, gone on with from any cursor", () =>
      withStore(async (store) => {
        const nothing = await store.read({});
        assert.deepEqual([nothing.entries, nothing.more], [[], false]);
        await store.ingest("a", batch("n1.x", 1, 3));
        await store.ingest("b", batch("n1.x", 1, 2, { stream: "alarms" }));
        await store.ingest("a", batch("n1.x", 4, 5, { stream: "alarms" }));
        const lines = async (after: string | undefined, cell?: string) => {
          const page = await store.read({
            ...(after === undefined ? {} : { after }),
            cell,
            limit: 4,
          });
          return page.entries.map((item) => [
            `${item.cell} ${item.stream} ${keyText(item)}`,
            item.cursor,
          ]);
        };
        const first = await lines(nothing.cursor);
        assert.deepEqual(
          first.map(([line]) => line),
          ["a telemetry p1/1/1", "a telemetry p1/1/2", "a telemetry p1/1/3", "b alarms p1/1/1"],
        );
        assert.deepEqual(
          (await lines(first[1]?.[1])).map(([line]) => line),
          ["a telemetry p1/1/3", "b alarms p1/1/1", "b alarms p1/1/2", "a alarms p1/1/4"],
        );
        assert.deepEqual(
          (await lines(undefined, "b")).map(([line]) => line),
          ["b alarms p1/1/1", "b alarms p1/1/2"],
        );
      }));

    test("D5: pages by cell and time, over all cells in the order of arrival; a tail is told", () =>
      withStore(async (store) => {
        const grown: string[] = [];
        store.on("grown", (changes) =>
          grown.push(...changes.map(({ cell, streams }) => `${cell}:${streams}`)),
        );
        await store.ingest("a", batch("n1.x", 1, 30));
        await store.ingest("b", batch("n1.x", 1, 30));
        await store.ingest("a", batch("n1.x", 31, 40));
        assert.deepEqual(await readAllOf(store, { limit: 7 }), [
          ...range(1, 30).map((n) => `a p1/1/${n}`),
          ...range(1, 30).map((n) => `b p1/1/${n}`),
          ...range(31, 40).map((n) => `a p1/1/${n}`),
        ]);
        assert.deepEqual(await readAllOf(store, { cell: "b", fromMs: 5000, toMs: 7000 }), [
          "b p1/1/5",
          "b p1/1/6",
        ]);
        await assert.rejects(store.read({ stream: "telemetri" }), {
          code: "stream-unknown",
          hint: "did you mean telemetry?",
        });
        await assert.rejects(store.read({ stream: "telemetry", after: "other.1" }), {
          code: "invalid-cursor",
        });
        await waitFor(() => grown.length === 3, { what: "three notices" });
        assert.deepEqual(grown, ["a:telemetry", "b:telemetry", "a:telemetry"]);
      }));
  });
}
