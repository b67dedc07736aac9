/** Queries over strong collections, against an evaluator that looks at every document in the plainest way. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import * as fc from "fast-check";
import { strongLedgerOf } from "../../src/agent/strong-ledger.ts";
import type { StrongCaller, StrongLedger } from "../../src/data/index.ts";
import { checkQuery } from "../../src/data/queries/check.ts";
import { createStrongDocuments } from "../../src/data/strong/documents.ts";
import { createStrongQueries, type StrongPage } from "../../src/data/strong/queries.ts";
import type { Ledger, Revision } from "../../src/ledger/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { withFaults, unavailableError } from "../support/ledger-faults.ts";
import { hostDeps, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { bodies, naiveRows, sorts, wheres, type Doc, type Request } from "../support/queries.ts";
import { accounts, strongService } from "../support/strong.ts";

const caller: StrongCaller = { id: "spiffe://mill.skerry/app/a", token: "good-a" };
const collection = accounts.name;

async function start(t: TestContext, faulty = (ledger: Ledger): Ledger => ledger) {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  const port = strongLedgerOf(strongService(t, faulty(ledger)));
  let listed = 0;
  const counted: StrongLedger = {
    ...port,
    async list(...asked) {
      const page = await port.list(...asked);
      listed += page.items.length;
      return page;
    },
  };
  const strong = createStrongDocuments({ ...hostDeps, ledger: port });
  strong.declare([{ ...accounts, fields: [] }]);
  const queries = createStrongQueries({ ...hostDeps, ledger: counted });
  const ask = async (request: Request): Promise<StrongPage> => {
    const query = checkQuery(JSON.parse(JSON.stringify({ timeoutMs: 30_000, ...request })));
    return await queries.documents(caller, { collection, query });
  };
  const put = async (docs: readonly Doc[]) => {
    for (let at = 0; at < docs.length; at += 64) {
      const writes = docs
        .slice(at, at + 64)
        .map(({ id, body }) => ({ collection, id, do: "put" as const, body: body as never }));
      assert.equal((await strong.write(caller, writes)).state, "done");
    }
  };
  return {
    ledger,
    strong,
    put,
    ask,
    rows: async (request: Request) => rowsOf(await ask(request)),
    listed: () => listed,
  };
}

type Row = { readonly id: string; readonly version: string; readonly body: unknown };
const rowsOf = ({ rows }: StrongPage): Row[] => rows.map((row) => JSON.parse(row) as Row);
const numbered = (count: number): Doc[] =>
  Array.from({ length: count }, (_, index) => ({
    id: `doc-${String(index).padStart(4, "0")}`,
    body: { number: index, half: index % 2 },
  }));

test("T7: rows are those of the naive answer, in its order, whatever the pages", async (t) => {
  const { put, ask, strong } = await start(t);
  const ids = fc.oneof(
    fc.integer({ min: 0, max: 30 }).map((number) => `doc-${number}`),
    fc.constantFrom("\u{1F600}", "\uFF01", "a".repeat(256)),
  );
  const docsOf = fc
    .uniqueArray(fc.record({ id: ids, body: bodies }), { maxLength: 25, selector: ({ id }) => id })
    .map((docs) => JSON.parse(JSON.stringify(docs)) as Doc[]);
  const asked = fc.array(fc.tuple(wheres, sorts), { minLength: 20, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(docsOf, asked, async (docs, requests) => {
      const { documents } = await strong.list(caller, { collection, limit: 100 });
      if (documents.length > 0)
        await strong.write(
          caller,
          documents.map(({ id }) => ({ collection, id, do: "delete" })),
        );
      await put(docs);
      for (const [where, sort] of requests) {
        const wanted = naiveRows(docs, { where, sort });
        for (const limit of [3, 100]) {
          const rows: unknown[] = [];
          for (let cursor: string | undefined; ;) {
            const page = await ask({ where, sort, limit, ...(cursor ? { cursor } : {}) });
            for (const { id, body } of rowsOf(page)) rows.push({ id, body });
            if (page.cursor === undefined) break;
            assert.ok(page.rows.length > 0, "a page in the middle is not empty");
            ({ cursor } = page);
          }
          assert.deepEqual(rows, wanted, JSON.stringify({ where, sort, limit }));
        }
      }
    }),
    { numRuns: 20, endOnFailure: true },
  );
});

test("T7: measures and fields, a version in each row, and the revision of all of it", async (t) => {
  const { put, ask, rows, strong } = await start(t);
  await put(numbered(1200));
  const groups = await ask({ aggregate: ["count", "sum(number)"], by: ["half"] });
  assert.deepEqual(groups.rows.map((row) => JSON.parse(row) as unknown).toSorted(), [
    { group: { half: 0 }, values: { count: 600, "sum(number)": 359_400 } },
    { group: { half: 1 }, values: { count: 600, "sum(number)": 360_000 } },
  ]);
  const [row] = await rows({ where: { op: "=", path: "number", value: 7 }, fields: ["number"] });
  assert.deepEqual(row?.body, { number: 7 });
  const document = await strong.read(caller, { collection, id: "doc-0007" });
  assert.equal(row?.version, document?.version);
  const page = await ask({ limit: 1 });
  const { revision } = page;
  assert.deepEqual([page.consistency, revision >= Number(document?.version)], ["strong", true]);
  await strong.write(caller, [{ collection, id: "doc-0001", do: "delete" }]);
  assert.equal((await ask({ limit: 1 })).revision > revision, true);
});

test("T7: pages are of one revision; once that is forgotten this is said", async (t) => {
  const { put, ask, strong, ledger } = await start(t);
  await put(numbered(6));
  const sort = ["-number"];
  const first = await ask({ sort, limit: 2 });
  await strong.write(caller, [
    { collection, id: "doc-0000", do: "delete" },
    { collection, id: "doc-0003", do: "put", body: { number: 99 } },
    { collection, id: "new", do: "put", body: { number: 2.5 } },
  ]);
  const cursor = first.cursor ?? "";
  const second = await ask({ sort, limit: 9, cursor });
  assert.deepEqual(
    [...rowsOf(first), ...rowsOf(second)].map(({ id }) => id),
    numbered(6)
      .toReversed()
      .map(({ id }) => id),
  );
  assert.equal(second.revision, first.revision);
  const now = rowsOf(await ask({ sort })).map(({ id }) => id);
  assert.deepEqual(now, ["doc-0003", "doc-0005", "doc-0004", "new", "doc-0002", "doc-0001"]);

  await assert.rejects(ask({ sort: ["number"], limit: 2, cursor }), { code: "invalid-cursor" });
  for (const wrong of ["x", "a:b:c", cursor.slice(cursor.lastIndexOf(":") + 1)])
    await assert.rejects(ask({ sort, limit: 2, cursor: wrong }), { code: "invalid-cursor" });
  const [, ...rest] = cursor.split(":");
  const elsewhere = ["other", ...rest].join(":");
  await assert.rejects(ask({ sort, limit: 2, cursor: elsewhere }), { code: "compacted" });
  await ledger.compact((await ledger.status()).revision as Revision);
  await assert.rejects(ask({ sort, limit: 2, cursor }), { code: "compacted", hint: /again/ });
});

test("T7: of ids only what can match comes from the ledger", async (t) => {
  const { put, rows, listed } = await start(t);
  await put(numbered(1500));
  const ids = async (where: Request["where"], limit = 1000) => {
    const before = listed();
    const found = await rows({ ...(where ? { where } : {}), limit });
    return [found.length, listed() - before];
  };
  assert.deepEqual(await ids(undefined), [1000, 1500]);
  const [one, looked = Infinity] = await ids({ op: "=", path: "id", value: "doc-1234" });
  assert.equal(one, 1);
  assert.ok(looked <= 500, `${looked} were read for one`);
  assert.deepEqual(await ids({ op: ">=", path: "id", value: "doc-1490" }), [10, 10]);
  const [few, near = Infinity] = await ids({ op: "prefix", path: "id", value: "doc-000" });
  assert.equal(few, 10);
  assert.ok(near <= 500, `${near} were read for ten`);
});

test("T7: without a quorum it is refused with the reason, and so is what is too dear or too much", async (t) => {
  let isLost = false;
  const { put, ask } = await start(t, (ledger) => ({
    ...withFaults(ledger, { read: () => (isLost ? unavailableError() : undefined) }),
    status: async () => ({ ...(await ledger.status()), quorum: isLost ? "lost" : "held" }) as const,
  }));
  await put(numbered(10));
  assert.equal((await ask({})).rows.length, 10);
  isLost = true;
  await assert.rejects(ask({}), { code: "quorum-lost", retryable: true });

  const clock = createSimulatedClock();
  const held = Promise.withResolvers<void>();
  let isSlow = false;
  const ledger: Pick<StrongLedger, "list"> = {
    async list() {
      if (isSlow) await clock.advance(5000);
      else await held.promise;
      const items = [
        { key: "61", value: Buffer.from('{"schemaVersion":1,"body":{}}'), revision: 1 },
      ];
      return { epoch: "e", revision: 1, items, more: isSlow };
    },
  };
  const queries = createStrongQueries({ ledger, clock });
  const request = { collection, query: checkQuery({}) };
  const all = Array.from({ length: 66 }, () => queries.documents(caller, request));
  await assert.rejects(queries.documents(caller, request), { code: "store-busy", retryable: true });
  held.resolve();
  for (const page of await Promise.all(all)) assert.equal(page.rows.length, 1);
  isSlow = true;
  await assert.rejects(queries.documents(caller, request), {
    code: "query-too-dear",
    message: /after 2000 ms 1 documents/,
  });
});
