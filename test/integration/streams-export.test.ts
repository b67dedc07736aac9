/** `skerry data export` over real HTTP: whole, as CSV, and after a break. */
import { strict as assert } from "node:assert";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { exportStream, type ExportOptions } from "../../src/cli/export/stream-export.ts";
import {
  createStreamRoutes,
  openStreamStore,
  type LocalStreamStore,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { createHttpApp, type HttpApp } from "../../src/runtime/http/index.ts";
import { entry, range, telemetry, temporaryFolder } from "../support/data.ts";

const folder = temporaryFolder();
let store: LocalStreamStore;
let app: HttpApp;
let url: string;

before(async () => {
  store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: join(folder.path, "s.db"), node: "n1" },
  );
  await store.setStreams([telemetry]);
  app = createHttpApp();
  createStreamRoutes(store, { clock: systemClock })(app);
  url = await app.listen({ host: "127.0.0.1", port: 0 });
  const body = (n: number) =>
    n === 30
      ? { n, late: true }
      : {
          n,
          text: n === 3 ? 'a "quoted", one\nof two lines' : `t${n}`,
          deep: { at: [n] },
          at: "x",
        };
  await store.append(range(1, 40).map((n) => entry(n, { atMs: n * 1000, body: body(n) })));
});
after(async () => {
  await app.close();
  await store.close();
  folder[Symbol.dispose]();
});

const run = (options: Partial<ExportOptions> & { path: string }, send = fetch) =>
  exportStream(
    { url, fetch: send },
    { stream: "telemetry", format: "ndjson", query: {}, pageEntries: 7, ...options },
  );
/** Answers so many requests, then loses the connection. */
function failingAfter(requests: number): typeof fetch {
  let left = requests;
  return (...call) => (left-- > 0 ? fetch(...call) : Promise.reject(new TypeError("fetch failed")));
}

for (const format of ["ndjson", "csv"] as const) {
  test(`an export as ${format} that is cut short goes on, and is the file that it would have been`, async () => {
    const whole = join(folder.path, `whole.${format}`);
    const broken = join(folder.path, `broken.${format}`);
    const result = await run({ path: whole, format });
    assert.deepEqual([result.entries, result.resumed], [40, 0]);
    assert.equal(existsSync(`${whole}.resume`), false);
    await assert.rejects(run({ path: broken, format }, failingAfter(2)), { code: "not-answering" });
    // As after a crash: more was written than was noted.
    writeFileSync(broken, "half a li", { flag: "a" });
    await assert.rejects(run({ path: broken, format, query: { from: "5" } }), {
      code: "invalid-argument",
    });
    await assert.rejects(run({ path: broken, format }, failingAfter(1)), { code: "not-answering" });
    const resumed = await run({ path: broken, format });
    assert.deepEqual([resumed.entries, resumed.resumed, resumed.bytes], [40, 21, result.bytes]);
    assert.equal(readFileSync(broken, "utf8"), readFileSync(whole, "utf8"));
    await assert.rejects(run({ path: broken, format }), { code: "invalid-argument" });
  });
}

test("parquet: typed columns, finished groups kept over a break, no entry twice or missing; read by another program", async () => {
  const whole = join(folder.path, "whole.parquet");
  const broken = join(folder.path, "broken.parquet");
  const options = { format: "parquet", pieceEntries: 14 } as const;
  const result = await run({ ...options, path: whole });
  assert.deepEqual([result.entries, result.resumed], [40, 0]);
  await assert.rejects(run({ ...options, path: broken }, failingAfter(3)), {
    code: "not-answering",
  });
  writeFileSync(broken, "half a group", { flag: "a" });
  const resumed = await run({ ...options, path: broken });
  assert.deepEqual([resumed.entries, resumed.resumed, resumed.bytes], [40, 14, result.bytes]);
  assert.deepEqual(readFileSync(broken), readFileSync(whole));
  const file = await asyncBufferFromFile(broken);
  const { schema, row_groups: groups } = await parquetMetadataAsync(file);
  assert.deepEqual(
    groups.map(({ num_rows: rows }) => rows),
    [14n, 14n, 12n],
  );
  assert.deepEqual(
    schema.slice(1).map(({ name, type, converted_type: meaning }) => [name, type, meaning]),
    [
      ["at", "INT64", "TIMESTAMP_MILLIS"],
      ["producer", "BYTE_ARRAY", "UTF8"],
      ["epoch", "INT64", undefined],
      ["sequence", "INT64", undefined],
      ["origin", "BYTE_ARRAY", "UTF8"],
      ["position", "INT64", undefined],
      ["n", "DOUBLE", undefined],
      ["text", "BYTE_ARRAY", "UTF8"],
      ["deep", "BYTE_ARRAY", "JSON"],
      ["body.at", "BYTE_ARRAY", "UTF8"],
      ["other", "BYTE_ARRAY", "JSON"],
    ],
  );
  const rows = await parquetReadObjects({ file });
  const { origin } = await store.status();
  assert.deepEqual(
    rows.map(({ sequence }) => Number(sequence)),
    range(1, 40),
  );
  assert.deepEqual(rows[2], {
    ...{ at: new Date(3000), producer: "p1", epoch: 1n, sequence: 3n, origin, position: 3n, n: 3 },
    ...{ text: 'a "quoted", one\nof two lines', deep: { at: [3] }, "body.at": "x", other: null },
  });
  assert.deepEqual(
    [rows[29]?.["n"], rows[29]?.["text"], rows[29]?.["other"]],
    [30, null, { late: true }],
  );
  // Nothing in that time: a table without rows.
  const empty = join(folder.path, "empty.parquet");
  assert.equal((await run({ ...options, path: empty, query: { to: "0" } })).entries, 0);
  assert.deepEqual(await parquetReadObjects({ file: await asyncBufferFromFile(empty) }), []);
});

test("parquet: what is kept for a later run is added to with each group, and not written anew; none of it lost, none believed beyond what was noted", async () => {
  const path = join(folder.path, "long.parquet");
  const whole = join(folder.path, "long-whole.parquet");
  const options = { format: "parquet", pageEntries: 1, pieceEntries: 1 } as const;
  await run({ ...options, path: whole });
  const record = () => readFileSync(`${path}.resume`, "utf8");
  const notes = () => readFileSync(`${path}.resume.pieces`, "utf8");
  const cutAfter = (requests: number) =>
    assert.rejects(run({ ...options, path }, failingAfter(requests)), { code: "not-answering" });
  await cutAfter(10);
  const [recorded, noted] = [record(), notes()];
  assert.equal(noted.split("\n").length, 10 + 1);
  // As after a crash: a group was noted, and not how far the export is.
  writeFileSync(`${path}.resume.pieces`, "{}\n{}\n", { flag: "a" });
  await cutAfter(20);
  assert.ok(notes().startsWith(noted));
  assert.ok(record().length < recorded.length + 20, "the record grows with the groups");
  const saved = notes();
  writeFileSync(`${path}.resume.pieces`, saved.slice(0, -1));
  await assert.rejects(run({ ...options, path }), /resume.pieces is not whole/);
  writeFileSync(`${path}.resume.pieces`, saved);
  const { entries, resumed } = await run({ ...options, path });
  assert.deepEqual([entries, resumed], [40, 30]);
  assert.deepEqual(readFileSync(path), readFileSync(whole));
  assert.equal(existsSync(`${path}.resume.pieces`), false);
});

test("an export that another version began is named as that, and stays as it is", async () => {
  const path = join(folder.path, "earlier.parquet");
  writeFileSync(path, "PAR1");
  const state = { columns: [], groups: "[]" };
  const of = JSON.stringify([2, "telemetry", "parquet", {}]);
  writeRecord(`${path}.resume`, { of, entries: 10, bytes: 4, state });
  await assert.rejects(run({ path, format: "parquet" }), {
    code: "invalid-argument",
    message: /was begun by another version/,
  });
  assert.equal(readFileSync(path, "utf8"), "PAR1");
  await assert.rejects(run({ path, format: "csv" }), /belongs to another export/);
});

test("CSV: columns by the first page, text quoted, objects as JSON, what comes up later in the last column", async () => {
  const path = join(folder.path, "some.csv");
  await run({ path, format: "csv", query: { from: "3000", to: "31000" } });
  const text = readFileSync(path, "utf8");
  const { origin } = await store.status();
  assert.equal(
    text.slice(0, text.indexOf("1970-01-01T00:00:04")),
    `at,producer,epoch,sequence,origin,position,n,text,deep,body.at,other\n` +
      `1970-01-01T00:00:03.000Z,p1,1,3,${origin},3,3,"a ""quoted"", one\nof two lines","{""at"":[3]}",x,\n`,
  );
  assert.ok(
    text.endsWith(`1970-01-01T00:00:30.000Z,p1,1,30,${origin},30,30,,,,"{""late"":true}"\n`),
  );
});

test("an empty range is an empty file", async () => {
  const path = join(folder.path, "none.ndjson");
  assert.equal((await run({ path, query: { from: "99000" } })).entries, 0);
  assert.equal(readFileSync(path, "utf8"), "");
});
