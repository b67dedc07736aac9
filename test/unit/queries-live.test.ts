/** Live queries: whoever applies the differences has what the query answers, at every moment. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { checkQuery } from "../../src/data/queries/check.ts";
import { createQueryEngine, type QueryEngine } from "../../src/data/queries/engine.ts";
import type { LiveReader, LocalDocumentStore } from "../../src/data/index.ts";
import { applyDifferences, type QueryDifference, type QueryRow } from "../../src/client/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { items, openDocuments, put, replicate, write } from "../support/documents.ts";
import { counted, startLive } from "../support/queries-live.ts";
import { waitFor } from "../support/wait.ts";
import { bodies, paths, sorts, wheres, type Request } from "../support/queries.ts";

const folder = temporaryFolder();
const path = join(folder.path, "documents.db");
let store: LocalDocumentStore;
/** Of another node, which writes the same documents. */
let other: LocalDocumentStore;
let engine: QueryEngine;

before(async () => {
  store = await openDocuments(path);
  other = await openDocuments(join(folder.path, "other.db"), "n2");
  engine = createQueryEngine({ clock: systemClock }, { documentsPath: path, streamsPath: "none" });
});
after(async () => {
  engine.close();
  await Promise.all([store.close(), other.close()]);
  folder[Symbol.dispose]();
});

const asked = (collection: string, request: Request) => ({
  collection,
  isDeclared: true,
  query: checkQuery(JSON.parse(JSON.stringify({ timeoutMs: 30_000, ...request }))),
});

const rowsOf = (texts: readonly string[]) => texts.map((text) => JSON.parse(text) as QueryRow);

let numbers = 0;
/** A reader that applies what it is told. */
async function reader(collection: string, request: Request) {
  const live = ++numbers;
  const shown = rowsOf(await engine.live.open({ ...asked(collection, request), live }));
  return { live, request, shown, told: 0 };
}
type Reader = Awaited<ReturnType<typeof reader>>;

async function look(readers: readonly Reader[]): Promise<void> {
  for (let asking = readers.map(({ live }) => live); asking.length > 0;) {
    const { told, ended, unknown, left } = await engine.live.look(asking);
    assert.deepEqual([ended, unknown], [[], []]);
    for (const { live, text } of told) {
      const one = readers.find((each) => each.live === live) as Reader;
      const { changes } = JSON.parse(text) as { changes: QueryDifference[] };
      assert.ok(changes.length > 0, "what changes nothing is not told");
      one.shown = applyDifferences(one.shown, changes);
      one.told++;
    }
    asking = [...left];
  }
}

async function answers(collection: string, request: Request): Promise<QueryRow[]> {
  return rowsOf((await engine.documents(asked(collection, request))).rows);
}

const ids = fc.integer({ min: 0, max: 59 }).map((number) => `doc-${number}`);
const changes = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ id: ids, body: bodies }) },
    { weight: 2, arbitrary: fc.record({ id: ids, gone: fc.constant(true) }) },
  ),
  { minLength: 1, maxLength: 8 },
);
const turns = fc.oneof(
  { weight: 4, arbitrary: fc.record({ at: fc.constant("here" as const), changes }) },
  { weight: 2, arbitrary: fc.record({ at: fc.constant("there" as const), changes }) },
  // More than any window holds in reserve.
  { weight: 1, arbitrary: fc.record({ clear: fc.integer({ min: 0, max: 30 }) }) },
  { weight: 4, arbitrary: fc.record({ look: fc.nat(255) }) },
);
const requests = fc.record(
  {
    where: wheres,
    sort: sorts,
    limit: fc.constantFrom(1, 2, 5, 20, 100),
    fields: fc.subarray(paths, { minLength: 1 }),
  },
  { requiredKeys: ["sort", "limit"] },
);

let collections = 0;
test("Q6: differences, applied in order, are what the query answers: any query, any writes, merges and batches", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(bodies, { minLength: 45, maxLength: 45 }),
      fc.array(requests, { minLength: 8, maxLength: 8 }),
      fc.subarray(paths),
      fc.array(turns, { minLength: 25, maxLength: 25 }),
      async (first, wanted, indexes, story) => {
        const name = `c${collections++}`;
        for (const one of [store, other])
          await one.declare([items, { ...items, name, fields: [], indexes }]);
        const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as never;
        await write(store, ...first.map((body, at) => put(`doc-${at}`, plain(body), name)));
        const readers = await Promise.all(wanted.map((request) => reader(name, request)));
        for (const turn of story) {
          if ("look" in turn) {
            const some = readers.filter((_, at) => (turn.look >> at) & 1);
            await look(some);
            for (const { shown, request } of some)
              assert.deepEqual(shown, await answers(name, request), JSON.stringify(request));
          } else if ("clear" in turn) {
            const gone = Array.from({ length: 30 }, (_, at) => `doc-${turn.clear + at}`);
            await write(
              store,
              ...gone.map((id) => ({ collection: name, id, do: "delete" }) as const),
            );
          } else {
            const writes = turn.changes.map((change) =>
              "body" in change
                ? put(change.id, plain(change.body), name)
                : ({ collection: name, id: change.id, do: "delete" } as const),
            );
            await write(turn.at === "here" ? store : other, ...writes);
            if (turn.at === "here") continue;
            await replicate(other, store);
            await replicate(store, other);
          }
        }
        await look(readers);
        for (const { live, shown, request } of readers) {
          assert.deepEqual(shown, await answers(name, request), JSON.stringify(request));
          engine.live.close(live);
        }
      },
    ),
    { numRuns: 6, endOnFailure: true },
  );
});

/** As on the main thread of a node, with the queries' thread in place; `fail`: the next look fails. */
function liveQueries(resumeMs = 60_000) {
  const state = { fail: false };
  const thread = {
    ...engine.live,
    look(lives: readonly number[]) {
      if (!state.fail) return engine.live.look(lives);
      state.fail = false;
      return Promise.reject(new Error("the thread ended"));
    },
  };
  const { live, metrics } = startLive({ queries: { live: thread }, store }, { resumeMs });
  return { live, metrics, state };
}

async function told(reader: LiveReader) {
  const event = await reader.next();
  assert.ok(event);
  const data = JSON.parse(event.data) as { rows?: QueryRow[]; changes?: QueryDifference[] };
  return { ...event, ...data, size: (data.rows ?? data.changes ?? []).length };
}

test("Q7: a reader that is slow holds nobody up, and what it missed comes as one difference", async (t) => {
  const { live, metrics } = liveQueries();
  t.after(() => live.stop());
  await store.declare([{ ...items, name: "slow", fields: [] }]);
  const round = (n: number) =>
    write(store, ...Array.from({ length: 20 }, (_, at) => put(`s${at}`, { n }, "slow")));
  await round(0);
  const [slow, fast] = await Promise.all(
    [1, 2].map(() => live.open(asked("slow", { limit: 10 }), { caller: undefined })),
  );
  assert.ok(slow && fast);
  await told(fast);
  for (let n = 1; n <= 20; n++) {
    const waiting = told(fast);
    await round(n);
    const { changes = [] } = await waiting;
    assert.deepEqual(
      changes.map((one) => one.change === "changed" && one.row.body["n"]),
      Array(10).fill(n),
    );
  }
  assert.equal(await counted(metrics, "skerry_live_query_coalesced_total"), 1);
  assert.equal((await told(slow)).event, "result");
  const missed = await told(slow);
  assert.equal(missed.size, 10, "once each, however often they were written");
  const shown = applyDifferences(
    [],
    (missed.changes ?? []).map((one, at) => ({ ...one, change: "added", at }) as QueryDifference),
  );
  assert.deepEqual(shown, await answers("slow", { limit: 10 }));
});

test("Q7: when the queries' thread ends, its live queries tell all rows again", async (t) => {
  const { live, metrics, state } = liveQueries();
  t.after(() => live.stop());
  await store.declare([{ ...items, name: "ended", fields: [] }]);
  await write(store, put("a", { n: 1 }, "ended"));
  const reader = await live.open(asked("ended", {}), { caller: undefined });
  await told(reader);
  state.fail = true;
  const waiting = told(reader);
  await write(store, put("b", { n: 2 }, "ended"));
  const again = await waiting;
  assert.deepEqual([again.event, again.size], ["reset", 2]);
  await write(store, put("c", { n: 3 }, "ended"));
  assert.deepEqual((await told(reader)).event, "changes");
  const name = 'skerry_live_query_resets_total{reason="queries-restarted"}';
  assert.equal(await counted(metrics, name), 1);
});

test("Q7: live queries are bounded; one that nobody reads makes room, or is forgotten in time", async (t) => {
  const { live, metrics } = liveQueries();
  const brief = liveQueries(1);
  t.after(() => [live, brief.live].map((one) => one.stop()));
  await store.declare([{ ...items, name: "many", fields: [] }]);
  const open = () => live.open(asked("many", { limit: 1 }), { caller: undefined });
  const readers: LiveReader[] = [];
  while (readers.length < 512) readers.push(await open());
  await assert.rejects(open(), { code: "store-busy", retryable: true });
  readers[0]?.leave();
  await open();
  assert.equal(await counted(metrics, "skerry_live_queries"), 512);
  // The first one is gone for good.
  assert.equal(await readers[0]?.next(), undefined);

  (await brief.live.open(asked("many", {}), { caller: undefined })).leave();
  await waitFor(async () => (await counted(brief.metrics, "skerry_live_queries")) === 0, {
    what: "it to be forgotten",
  });
});
