/** Queries over entries, rows and sealed segments alike, against a naive evaluator. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { openStreamStore, type StreamStore } from "../../src/data/index.ts";
import { checkEntriesQuery } from "../../src/data/queries/check.ts";
import { createQueryEngine, type QueryEngine } from "../../src/data/queries/engine.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import {
  bodies,
  equal,
  matches,
  naiveGroups,
  wheres,
  type Doc,
  type Json,
  type Where,
} from "../support/queries.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const streamsPath = join(folder.path, "streams.db");
const startMs = Date.parse("2026-01-01T00:00:00Z");
const hour = 3_600_000;
type Entry = Doc & { atMs: number };
let store: StreamStore;
let engine: QueryEngine;
/** In the order of the view; ids are cursors. */
let entries: Entry[];

before(async () => {
  store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: streamsPath, node: "n1", sealing: { entriesMax: 7, tailEntries: 5, periodMs: 1 } },
  );
  await store.setStreams(["mixed", "other"].map((name) => ({ name, retention: {} })));
  const drawn = fc.sample(
    fc.record({ body: bodies, atMs: fc.integer({ min: startMs, max: startMs + 6 * hour }) }),
    { numRuns: 300, seed: 7 },
  );
  for (const [at, { body, atMs }] of drawn.entries()) {
    const bytes = Buffer.from(JSON.stringify(body));
    await store.append([
      { stream: "mixed", atMs, body: bytes },
      ...(at % 3 === 0 ? [{ stream: "other", atMs, body: bytes }] : []),
    ]);
  }
  await waitFor(
    async () => {
      const { streams } = await store.status();
      return streams.every(({ sealed }) => sealed > 50);
    },
    { what: "segments" },
  );
  const page = await store.read({ stream: "mixed", limit: 1000 });
  entries = page.entries.map(({ cursor, atMs, body }) => ({
    id: cursor,
    atMs,
    body: JSON.parse(Buffer.from(body).toString()) as Doc["body"],
  }));
  assert.equal(entries.length, 300);
  engine = createQueryEngine({ clock: systemClock }, { documentsPath: "none", streamsPath });
});
after(async () => {
  engine.close();
  await store.close();
  folder[Symbol.dispose]();
});

type Asked = Readonly<Record<string, unknown>> & { where?: Where };
async function ask(request: Asked, stream = "mixed") {
  // As it comes over HTTP.
  const query = checkEntriesQuery(JSON.parse(JSON.stringify({ timeoutMs: 30_000, ...request })));
  const page = await engine.entries({ stream, isDeclared: false, query });
  return { ...page, rows: page.rows.map((row) => JSON.parse(row) as { [name: string]: Json }) };
}

const times = fc
  .tuple(fc.integer({ min: -1, max: 7 * 60 }), fc.integer({ min: -1, max: 7 * 60 }))
  .map(([from, to]) => ({ from: startMs + from * 60_000, to: startMs + to * 60_000 }));
const within = ({ from, to }: { from: number; to: number }) =>
  entries.filter(({ atMs }) => atMs >= from && atMs < to);

test("Q1: the entries of a time that meet a condition, in the order of arrival, page by page", async () => {
  await fc.assert(
    fc.asyncProperty(times, wheres, fc.constantFrom(40, 1000), async (time, where, limit) => {
      const wanted = within(time).filter((entry) => matches(entry, where));
      const found: Json[] = [];
      for (let cursor: string | undefined; ;) {
        const page = await ask({ ...time, where, limit, ...(cursor ? { cursor } : {}) });
        found.push(...page.rows);
        assert.ok(page.rows.length <= limit);
        if (page.cursor === undefined) break;
        ({ cursor } = page);
      }
      assert.deepEqual(
        (found as { cursor: string; at: string; body: Json }[]).map(({ cursor, at, body }) => ({
          id: cursor,
          atMs: Date.parse(at),
          body,
        })),
        wanted,
      );
    }),
    { numRuns: 30, endOnFailure: true },
  );
});

test("Q1: what is measured in windows is what the naive evaluator measures in each", async () => {
  const aggregate = ["count", "sum(/a)", "max(/b)", "count(/c)"];
  const windowMs = fc.constantFrom(60_000, 7 * 60_000, hour, 24 * hour);
  const by = fc.constantFrom<string[]>([], ["/d/e"]);
  const text = (rows: readonly Json[]) => rows.map((row) => JSON.stringify(sorted(row))).sort();
  await fc.assert(
    fc.asyncProperty(times, wheres, windowMs, by, async (time, where, length, fields) => {
      const windows = Map.groupBy(within(time), ({ atMs }) => Math.floor(atMs / length) * length);
      const wanted = [...windows].flatMap(([beginMs, members]) => {
        const inside = members.filter((entry) => matches(entry, where));
        if (inside.length === 0) return [];
        return naiveGroups(inside, { aggregate, by: fields }).map((row) => {
          const { group, values } = row as { group: object; values: object };
          return { group: { window: new Date(beginMs).toISOString(), ...group }, values } as Json;
        });
      });
      const request = { ...time, where, by: fields, aggregate, window: `${length}ms` };
      const { rows } = await ask(request);
      assert.deepEqual(text(rows), text(JSON.parse(JSON.stringify(wanted)) as Json[]));
      const order = rows.map(({ group }) => String((group as { window: string }).window));
      assert.deepEqual(order, order.toSorted());
    }),
    { numRuns: 30, endOnFailure: true },
  );
});

/** Names in one order at every depth. */
function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((name) => [name, sorted(value[name] ?? null)]),
  );
}

test("first and last go by the time that entries are of, not by their arrival", async () => {
  const [row] = (await ask({ aggregate: ["first(/a)", "last(/a)"] })).rows;
  const values = entries
    .filter(({ body }) => (body["a"] ?? null) !== null)
    .toSorted((a, b) => a.atMs - b.atMs)
    .map(({ body }) => body["a"]);
  const found = row?.["values"] as { [name: string]: Json };
  assert.ok(equal(found["first(/a)"], values[0]));
  assert.ok(equal(found["last(/a)"], values.at(-1)));
});

test("points make windows so long that there are no more of them", async () => {
  const to = startMs + 5 * hour;
  for (const points of [2, 3, 10, 250]) {
    const { rows } = await ask({ from: startMs, to, points, aggregate: ["count"] });
    assert.ok(rows.length <= points && rows.length > points / 3, `${rows.length} of ${points}`);
    const counted = rows.reduce((sum, { values }) => sum + (values as { count: number }).count, 0);
    assert.equal(counted, within({ from: startMs, to }).length);
  }
});

test("Q4: a request is refused with its field, and a range that takes too long with how far it came", async () => {
  const fails = (request: object, message: RegExp) =>
    assert.throws(() => checkEntriesQuery(request as never), { code: "invalid-query", message });
  fails({ sort: ["a"] }, /^sort: is not known here; known are where, from, /);
  fails({ from: "soon" }, /^from: "soon" must be a time/);
  fails({ window: 3 }, /^window: must be text/);
  fails({ window: "0s" }, /^window: "0s" must be whole milliseconds, and not 0/);
  fails({ points: 5 }, /^points: needs from, and to behind it/);
  fails({ points: 5, window: "1m" }, /^points: does not go with window/);
  fails({ window: "1m", fields: ["a"] }, /^fields: does not go with window/);
  fails({ window: "1m", by: ["window"] }, /^by: of a field of this name is "\/window"/);
  assert.throws(() => checkEntriesQuery({ window: "soon" }), { code: "invalid-duration" });

  let nowMs = 0;
  const monotonicMs = () => (nowMs += 5) as ReturnType<typeof systemClock.monotonicMs>;
  const files = { documentsPath: "none", streamsPath };
  const slow = createQueryEngine({ clock: { ...systemClock, monotonicMs } }, files);
  const query = checkEntriesQuery({ aggregate: ["count"], timeoutMs: 1 });
  const first = await slow.entries({ stream: "mixed", isDeclared: false, query });
  assert.deepEqual(
    first.rows,
    ['{"group":{},"values":{"count":300}}'],
    "one page is always looked at",
  );
  slow.close();
  await assert.rejects(ask({ window: "1ms", limit: 10, aggregate: ["count"] }), {
    code: "query-too-dear",
    message: /windows and groups, and limit is 10/,
  });
  await assert.rejects(ask({ cursor: "x.1" }), { code: "invalid-cursor" });
  await assert.rejects(ask({}, "nothing"), { code: "stream-unknown" });
});
