/** Audits: stores that are equal are found equal, and each planted difference is named. */
import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import * as fc from "fast-check";
import { lanesOf, printOf } from "../../src/data/audit/fingerprint.ts";
import { createKeySet, type KeySet } from "../../src/data/audit/key-set.ts";
import { reconcile } from "../../src/data/audit/reconcile.ts";
import type { AuditEngine } from "../../src/data/audit/engine.ts";
import {
  encodeBatch,
  encodeLeaving,
  encodeLeavingSnapshot,
  openGlobalDocuments,
  openGlobalStore,
  openStreamStore,
  type LocalDocumentStore,
  type LocalStreamStore,
  type StreamDeclaration,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createGate,
  createOperationGate,
  createOperationRecheck,
  createRecheck,
} from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { asCell, auditing, filesOf, meddle, openAudit } from "../support/audit.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";
import { items, openDocuments, put, replicate, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

const deps = { clock: systemClock, random: systemRandom, log: silentLog };
const folder = temporaryFolder();
const policy = { keep: ["name", "stock", "n"] };
const readings: StreamDeclaration = { name: "readings", retention: {}, egress: policy };
const files = (node: string) => filesOf(folder.path, node);
const closers: (() => unknown)[] = [];
const documents: Record<string, LocalDocumentStore> = {};
const streams: Record<string, LocalStreamStore> = {};
const audits: Record<string, AuditEngine> = {};

async function openNode(node: string): Promise<void> {
  documents[node] = await openDocuments(files(node).documentsPath, node);
  const sealing = { entriesMax: 50, tailEntries: 20, periodMs: 1 };
  streams[node] = openStreamStore(deps, { path: files(node).streamsPath, node, sealing });
  await streams[node].setStreams([readings]);
  audits[node] = openAudit(folder.path, node);
  closers.push(
    () => audits[node]?.close(),
    () => documents[node]?.close(),
    () => streams[node]?.close(),
  );
}
const at = <T>(all: Record<string, T>, node: string): T => {
  const found = all[node];
  if (!found) throw new Error(node);
  return found;
};
const both = () => ({ own: at(audits, "n1"), others: { n2: at(audits, "n2") } });
/** What n2 lacks, and n1. */
async function exchange(): Promise<void> {
  for (const [from, to] of [
    ["n1", "n2"],
    ["n2", "n1"],
  ] as const) {
    await replicate(at(documents, from), at(documents, to));
    await replicate(at(streams, from), at(streams, to));
  }
}

before(async () => {
  await openNode("n1");
  await openNode("n2");
  const random = fc.sample(fc.integer({ min: 0, max: 1e6 }), { numRuns: 600, seed: 7 });
  for (let batch = 0; batch < 30; batch++) {
    const some = random.slice(batch * 20, batch * 20 + 20);
    const writes = some.map((value) =>
      put(`item-${String(value % 400).padStart(3, "0")}`, {
        name: `n${value}`,
        stock: value % 50,
        price: value,
      }),
    );
    await write(at(documents, batch % 3 === 0 ? "n2" : "n1"), ...writes);
    if (batch % 5 === 0) await exchange();
  }
  const sequences = range(1, 1500);
  for (const node of ["n1", "n2"])
    await at(streams, node).append(
      sequences.map((n) => entry(n, { stream: "readings", producer: node, atMs: n })),
    );
  // The same entry, taken by both while they were cut off from each other.
  for (const node of ["n1", "n2"])
    await at(streams, node).append([entry(1, { stream: "readings", producer: "both" })]);
  await exchange();
  for (const node of ["n1", "n2"])
    await waitFor(
      async () => (await at(streams, node).status()).streams.every(({ sealed }) => sealed > 2900),
      { what: "segments" },
    );
});
after(async () => {
  for (const close of closers.toReversed()) await close();
  folder[Symbol.dispose]();
});

const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6, unit: "binary" }), {
  maxLength: 60,
});
const sorted = (keys: readonly string[]) =>
  keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
const keySetOf = (keys: readonly string[]): KeySet => {
  const set = createKeySet();
  for (const key of sorted(keys)) set.add(key, lanesOf(key));
  return set;
};

test("AU1: a range's fingerprint is that of its keys, and its parts are all of it", () => {
  fc.assert(
    fc.property(
      ids,
      fc.string(),
      fc.string(),
      fc.integer({ min: 1, max: 20 }),
      (keys, a, b, parts) => {
        const set = keySetOf(keys);
        const [from = "", to = ""] = sorted([a, b]);
        const isIn = (key: string) =>
          Buffer.compare(Buffer.from(key), Buffer.from(from)) >= 0 &&
          Buffer.compare(Buffer.from(key), Buffer.from(to)) < 0;
        const inside = sorted(keys).filter(isIn);
        const sums = new Uint32Array(4);
        for (const key of inside)
          for (const [lane, value] of lanesOf(key).entries())
            sums[lane] = (sums[lane] ?? 0) + value;
        const part = set.part({ from, to });
        assert.deepEqual([part.keys, part.print], [inside.length, printOf(sums)]);
        assert.deepEqual(set.keys({ from, to }, 1000), inside);
        const split = set.split({ from, to }, parts);
        assert.equal(split[0]?.from, from);
        assert.equal(split.at(-1)?.to, to);
        assert.equal(
          split.reduce((sum, { keys: count }) => sum + count, 0),
          inside.length,
        );
        for (const [index, { to: end }] of split.slice(0, -1).entries())
          assert.equal(end, split[index + 1]?.from);
      },
    ),
    { seed: 7, numRuns: 50 },
  );
});

test("AU2: differences among 20,000 keys cost messages in the order of the logarithm", async () => {
  const keys = range(1, 20_000).map((n) => `key-${String(n).padStart(6, "0")}`);
  const lacking = new Set(["key-000001", "key-010000", "key-010001", "key-020000"]);
  const [mine, theirs] = [keySetOf(keys), keySetOf(keys.filter((key) => !lacking.has(key)))];
  let messages = 0;
  const side = (set: KeySet) => ({
    prints: async (ranges: readonly { from: string; to?: string | undefined }[]) => {
      messages++;
      return ranges.map((one) => set.part(one));
    },
    split: async (ranges: readonly { from: string; to?: string | undefined }[], parts: number) => {
      messages++;
      return ranges.map((one) => set.split(one, parts));
    },
  });
  const sides = { mine: side(mine), theirs: side(theirs) };
  const { ranges, more } = await reconcile(sides, [{ from: "" }], { leafKeys: 16, rangesMax: 100 });
  assert.equal(more, false);
  const found = ranges.flatMap((one) => mine.keys(one, 100));
  for (const key of lacking) assert.ok(found.includes(key), key);
  assert.ok(found.length <= 4 * 16, String(found.length));
  assert.ok(messages <= 20, String(messages));
  messages = 0;
  await reconcile({ mine: side(mine), theirs: side(mine) }, [{ from: "" }], {
    leafKeys: 16,
    rangesMax: 100,
  });
  assert.equal(messages, 2);
});

test("AU3: stores that have the same are equal, whichever took what first", async () => {
  const { state, compared } = await auditing(both());
  assert.deepEqual(
    compared.map(({ kind, name, with: other, state: each, reason }) => [
      kind,
      name,
      other,
      each,
      reason,
    ]),
    [
      ["collection", "items", "n2", "equal", undefined],
      ["stream", "readings", "n2", "equal", undefined],
    ],
  );
  assert.equal(state, "equal");
  assert.equal(compared[1]?.items, 3002);
});

test("AU4: what one side has not heard of is moving, and no difference; once it has, they are equal", async () => {
  await write(at(documents, "n1"), put("item-000", { name: "new" }), put("fresh", { name: "new" }));
  await at(streams, "n1").append([entry(5000, { stream: "readings" })]);
  let now = 0;
  const impatient = {
    ...systemClock,
    sleep: () => setImmediate(),
    monotonicMs: () => (now += 1000) as never,
  };
  const early = await auditing(both(), { clock: impatient });
  assert.equal(early.state, "undecided");
  assert.match(early.compared[0]?.reason ?? "", /moving: 2 documents .*fresh, item-000/);
  assert.deepEqual([early.compared[1]?.state, early.compared[1]?.newer], ["equal", 1]);
  // It comes while they are compared.
  const patient = { ...systemClock, sleep: () => setImmediate().then(exchange) };
  assert.equal((await auditing(both(), { clock: patient })).state, "equal");
});

test("AU5: a lost document, a changed field, and an extra document are named", async () => {
  const [lost, changed] = ["item-010", "item-020"];
  const n2 = files("n2").documentsPath;
  const { body } = (await at(documents, "n2").read({ collection: "items", id: changed })) ?? {};
  const other = JSON.stringify({ ...body, price: -1 });
  assert.equal(meddle(n2, "UPDATE document SET body = ? WHERE id = ?", other, changed), 1);
  const { state, compared } = await auditing(
    {
      own: at(audits, "n1"),
      others: { n2: at(audits, "n2") },
    },
    { request: { names: ["items"] } },
  );
  assert.equal(state, "different");
  assert.deepEqual(compared[0]?.differences, [{ id: changed, fields: ["/price"] }]);
  assert.equal(
    meddle(n2, "UPDATE document SET body = ? WHERE id = ?", JSON.stringify(body), changed),
    1,
  );

  // A trace that is gone, and one that nobody ever wrote.
  meddle(n2, "CREATE TABLE kept AS SELECT * FROM document WHERE id = 'item-010'");
  meddle(n2, "DELETE FROM document WHERE id = ?", lost);
  meddle(
    files("n1").documentsPath,
    "INSERT INTO document SELECT collection, 'item-0105', body, state, change + 1000000, conflicts FROM document WHERE id = 'item-011'",
  );
  const again = await auditing(both(), { request: { names: ["items"] } });
  assert.deepEqual(again.compared[0]?.differences, [
    { id: lost, only: "n1" },
    { id: "item-0105", only: "n1" },
  ]);
  meddle(n2, "INSERT INTO document SELECT * FROM kept");
  meddle(files("n1").documentsPath, "DELETE FROM document WHERE id = 'item-0105'");
  assert.equal((await auditing(both(), { request: { names: ["items"] } })).state, "equal");
});

test("AU6: a missing range of entries, an extra one, and a changed one are named by log and position", async () => {
  // Rows only: what is sealed has a checksum of its own.
  await at(streams, "n1").append(
    range(1, 15).map((n) => entry(n, { stream: "readings", producer: "p9", atMs: n })),
  );
  await exchange();
  const { origin, vector } = await at(streams, "n1").status();
  const top = vector[origin] ?? 0;
  const path = files("n2").streamsPath;
  const own = "origin = (SELECT id FROM origin WHERE name = ?)";
  meddle(path, `CREATE TABLE kept AS SELECT * FROM entry`);
  const [from, to] = [top - 9, top - 6];
  assert.equal(
    meddle(path, `DELETE FROM entry WHERE ${own} AND sequence BETWEEN ? AND ?`, origin, from, to),
    4,
  );
  const changedBody = Buffer.from('{"n":-1}');
  meddle(
    path,
    `UPDATE entry SET body = ? WHERE ${own} AND sequence = ?`,
    changedBody,
    origin,
    top - 2,
  );
  // At a position that holds nothing: the one that a log skips where another stream's entry stood.
  await at(streams, "n1").setStreams([readings, { name: "other", retention: {} }]);
  await at(streams, "n1").append([entry(1, { stream: "other" })]);
  await at(streams, "n1").append([entry(16, { stream: "readings", producer: "p9" })]);
  await exchange();
  meddle(
    path,
    `UPDATE entry SET stream = (SELECT id FROM stream WHERE name = 'readings')
     WHERE ${own} AND sequence = ?`,
    origin,
    top + 1,
  );
  const { compared } = await auditing(both(), { request: { names: ["readings"] } });
  assert.equal(compared[0]?.state, "different");
  assert.deepEqual(compared[0]?.differences, [
    { origin, from, to, only: "n1" },
    { origin, from: top - 2, to: top - 2 },
    { origin, from: top + 1, to: top + 1, only: "n2" },
  ]);
});

test("AU7: what a disk lost of a segment is told as that, of the store that lost it, and nothing of it as lacking", async () => {
  const differ = async () => {
    const { compared } = await auditing(both(), { request: { names: ["readings"] } });
    return compared[0]?.differences ?? [];
  };
  const before = await differ();
  meddle(
    files("n1").streamsPath,
    "UPDATE segment_bytes SET bytes = zeroblob(100) WHERE id = (SELECT id FROM segment ORDER BY id LIMIT 1 OFFSET 5)",
  );
  const differences = await differ();
  const damaged = differences.flatMap((one) => ("damaged" in one ? [one] : []));
  assert.ok(damaged.length > 0);
  assert.ok(damaged.every(({ on }) => on === "n1"));
  assert.match(damaged[0]?.damaged ?? "", /50 entries .* are damaged/);
  assert.deepEqual(
    differences.filter((one) => !("damaged" in one)),
    before,
  );
});

test("AU8: the hub's copy is held against what the gate lets out, and against nothing else", async () => {
  const hubFiles = files("hub");
  const hub = openGlobalDocuments(
    { ...deps, recheck: createOperationRecheck() },
    { path: hubFiles.documentsPath },
  );
  const hubStreams = openGlobalStore(
    { ...deps, recheck: createRecheck() },
    { path: hubFiles.streamsPath },
  );
  const audit = openAudit(folder.path, "hub", { isHub: true });
  closers.push(
    () => hub.close(),
    () => hubStreams.close(),
    () => audit.close(),
  );
  await openNode("n3");
  const [store, stream] = [at(documents, "n3"), at(streams, "n3")];
  await store.declare([{ ...items, egress: { policy, revision: 1 } }]);
  for (const n of range(1, 80))
    await write(store, put(`a${n}`, { name: `n${n}`, price: n, stock: n }));
  await write(store, put("a1", { price: 1 }));
  await stream.append(
    range(1, 400).map((n) => entry(n, { stream: "readings", body: { n, secret: n } })),
  );
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });
  gate.setPolicies({ items: { policy, revision: 1 } });
  const entryGate = createGate({ encode: encodeBatch, log: silentLog });
  entryGate.setPolicies({ readings: policy });
  const { origin } = await store.status();
  for (let from = 1; ;) {
    const operations = store.readLeaving({ origin, from });
    const cleared = operations && gate.clear(operations, ["items"]);
    if (!cleared) break;
    await hub.ingest("shop", cleared.bytes);
    from = cleared.to + 1;
  }
  const log = (await stream.status()).origin;
  const leave = async (from: number) => {
    const leaving = stream.readLeaving({ origin: log, from });
    assert.ok(leaving);
    await hubStreams.ingest("shop", entryGate.clear(leaving).bytes);
  };
  // Many at once are sealed by the hub as they come, a few stay rows.
  await leave(1);
  for (const n of range(401, 420)) {
    await stream.append([entry(n, { stream: "readings", body: { n, secret: n } })]);
    await leave(n);
  }

  const sides = { own: at(audits, "n3"), others: { hub: asCell(audit, "shop") } };
  const leaves = { items: { policy }, readings: { policy } };
  const equal = await auditing(sides, { leaves });
  assert.deepEqual(
    equal.compared.map(({ name, with: other, state, reason }) => [name, other, state, reason]),
    [
      ["items", "hub", "equal", undefined],
      ["readings", "hub", "equal", undefined],
    ],
  );
  // What the hub wrote for this cell is held against what the cell has of it.
  await hub.publish({ name: "prices" });
  await hub.write([put("bolt", { euro: 1 }, "prices"), put("nut", { euro: 2 }, "prices")]);
  for (;;) {
    const vector = await store.vector();
    const piece = await hub.pull({ cell: "shop", collections: ["prices"], vector });
    if (!piece) break;
    await store.apply(piece);
  }
  const prices = { request: { names: ["prices"] }, leaves: { prices: {} } };
  const given = await auditing(sides, prices);
  assert.deepEqual([given.state, given.compared[0]?.items], ["equal", 2]);
  meddle(
    files("n3").documentsPath,
    `UPDATE document SET body = '{"euro":9}' WHERE id = 'nut' AND body IS NOT NULL`,
  );
  const wrong = await auditing(sides, prices);
  assert.deepEqual(wrong.compared[0]?.differences, [{ id: "nut", fields: ["/euro"] }]);

  meddle(hubFiles.documentsPath, "DELETE FROM document WHERE id = 'a7'");
  meddle(hubFiles.streamsPath, "DELETE FROM entry WHERE sequence BETWEEN 405 AND 410");
  const { compared } = await auditing(sides, { leaves });
  assert.deepEqual(
    compared.map(({ differences }) => differences),
    [[{ id: "a7", only: "n1" }], [{ origin: log, from: 405, to: 410, only: "n1" }]],
  );
  const other = await auditing(
    { own: at(audits, "n3"), others: { hub: asCell(audit, "elsewhere") } },
    { leaves },
  );
  assert.match(other.compared[0]?.reason ?? "", /the hub has no copy of it yet/);
});
