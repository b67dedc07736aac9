/** What crosses links and threads comes out as it went in; what is broken is refused whole. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { StoredEntry } from "../../src/api/index.ts";
import { decodeColumns } from "../../src/data/batch/codec.ts";
import { packFrame } from "../../src/data/batch/frame.ts";
import { headerProblem } from "../../src/data/batch/header.ts";
import { pack, unpack } from "../../src/data/batch/packed.ts";
import { decodeBatch, encodeBatch, type LogBatch } from "../../src/data/index.ts";
import { addRanges, includesNumber } from "../../src/data/tables/ranges.ts";

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 });
const plainRecord = { noNullPrototype: true } as const;
const entryParts = fc.record(
  {
    stream: fc.constantFrom("a", "b-c", "d.e"),
    atMs: fc.integer({ min: 0, max: Date.UTC(2100, 0, 1) }),
    key: fc.option(
      fc.record(
        {
          producer: fc.string({ minLength: 1, maxLength: 30, unit: "grapheme" }),
          epoch: safe,
          sequence: safe.map((n) => n + 1),
        },
        plainRecord,
      ),
      { nil: undefined },
    ),
    body: fc.uint8Array({ maxLength: 50 }),
    skip: fc.integer({ min: 1, max: 5 }),
  },
  plainRecord,
);
const batches = fc
  .tuple(fc.array(entryParts, { maxLength: 30 }), fc.integer({ min: 1, max: 2 ** 40 }), fc.nat(10))
  .map(([parts, from, tail]): LogBatch => {
    let sequence = from - 1;
    const entries = parts.map(({ skip, key, ...rest }): StoredEntry => {
      sequence += skip;
      return { ...rest, ...(key ? { key } : {}), position: { origin: "n1.x", sequence } };
    });
    return { origin: "n1.x", from, to: sequence + tail, entries };
  });
const plain = (batch: LogBatch) => ({
  ...batch,
  entries: batch.entries.map((entry) => ({ ...entry, body: [...entry.body] })),
});

test("D2: a batch comes out of the codec as it went in", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      assert.deepEqual(plain(decodeBatch(encodeBatch(batch))), plain(batch));
    }),
  );
});

test("D2: bytes that were changed on the way are refused, or are another whole batch", () => {
  fc.assert(
    fc.property(batches, fc.nat(), fc.integer({ min: 1, max: 255 }), (batch, at, flip) => {
      const bytes = Buffer.from(encodeBatch(batch));
      bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ flip;
      try {
        const decoded = decodeBatch(bytes);
        for (const { position } of decoded.entries)
          assert.ok(position.sequence >= decoded.from && position.sequence <= decoded.to);
      } catch (error) {
        assert.equal((error as { code?: string }).code, "invalid-batch");
      }
    }),
    { numRuns: 500 },
  );
  for (const bytes of [Buffer.alloc(0), Buffer.from("SKL1"), Buffer.from("SKL2abcd")])
    assert.throws(() => decodeBatch(bytes), { code: "invalid-batch" });
});

const header = {
  origin: "n1.x",
  from: 1,
  to: 1,
  streams: ["a"],
  producers: ["p"],
  stream: [0],
  producer: [0],
  epoch: [0],
  sequence: [1],
  at: [1],
  position: [1],
  length: [0],
};

test("D9: a header out of its bounds is refused by the field that is wrong", () => {
  assert.equal(headerProblem(header), undefined);
  const policies = { a: { keep: ["x"], drop: [] } };
  assert.equal(headerProblem({ ...header, policies }), undefined);
  for (const wrong of [
    { origin: "" },
    { origin: "n".repeat(254) },
    { from: 0 },
    { from: 1.5 },
    { to: -1 },
    { streams: [""] },
    { streams: "a" },
    { streams: ["a", "b", "a"] },
    { producers: [""] },
    { producers: ["ä".repeat(1000)] },
    { stream: ["0"] },
    { at: [null] },
    { length: undefined },
    { position: Array.from({ length: 20_001 }, () => 1) },
    { policies: [] },
    { policies: { a: { keep: [1] } } },
    { policies: { a: { hide: [] } } },
    { more: 1 },
  ])
    assert.match(
      headerProblem({ ...header, ...wrong }) ?? "",
      new RegExp(Object.keys(wrong)[0] ?? ""),
    );
  for (const other of [null, [], "x", 1]) assert.notEqual(headerProblem(other), undefined);
});

test("D9: numbers of a key without a producer are refused", () => {
  const bytesOf = (changed: object) =>
    Buffer.concat([
      Buffer.from("SKL1"),
      packFrame({ ...header, producer: [-1], sequence: [0], ...changed }, []),
    ]);
  assert.deepEqual(decodeColumns(bytesOf({})).columns.producer, [-1]);
  for (const wrong of [{ epoch: [1] }, { sequence: [1] }, { producer: [-2] }, { producer: [0] }])
    assert.throws(() => decodeColumns(bytesOf(wrong)), { code: "invalid-batch" });
});

test("D9: a batch that would unpack to more than its bound is refused", () => {
  const body = Buffer.alloc(256 * 1024, 32);
  const entries = Array.from({ length: 40 }, (_, index): StoredEntry => ({
    stream: "a",
    atMs: 1,
    body,
    position: { origin: "n1.x", sequence: index + 1 },
  }));
  const bomb = encodeBatch({ origin: "n1.x", from: 1, to: 40, entries });
  assert.ok(bomb.length < 100_000);
  assert.throws(() => decodeBatch(bomb), { code: "invalid-batch" });
});

test("what crosses a thread comes out as it went in", () => {
  fc.assert(
    fc.property(batches, ({ entries }) => {
      const out = unpack(pack(entries)).map(({ id: _id, ...entry }) => ({
        ...entry,
        body: [...entry.body],
      }));
      assert.deepEqual(
        out,
        entries.map((entry) => ({ ...entry, body: [...entry.body] })),
      );
    }),
  );
});

const singles = (values: readonly number[]) =>
  values.map((value): [number, number] => [value, value]);

test("D4, D9: ranges hold what was added, all of it while they are few, and never more", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 10 })),
      (additions) => {
        const exact = additions.reduce<ReturnType<typeof addRanges>>(
          (ranges, values) => addRanges(ranges, singles(values), 1000),
          [],
        );
        const bounded = additions.reduce<ReturnType<typeof addRanges>>(
          (ranges, values) => addRanges(ranges, singles(values), 3),
          [],
        );
        const added = new Set(additions.flat());
        for (let value = 1; value <= 60; value++) {
          assert.equal(includesNumber(exact, value), added.has(value));
          if (!added.has(value)) assert.ok(!includesNumber(bounded, value));
        }
        assert.ok(bounded.length <= 3);
        assert.ok(added.size === 0 || includesNumber(bounded, Math.max(...added)));
      },
    ),
  );
});
