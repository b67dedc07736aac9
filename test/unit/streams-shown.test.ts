/** What a peer shows of a store's own log, beside what stands there here (D7). */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { decodeColumns, encodeBatch } from "../../src/data/batch/codec.ts";
import { compareShown } from "../../src/data/streams/shown.ts";
import type { StoredEntry } from "../../src/api/index.ts";

const origin = "n1.a";
const keyed = (sequence: number, text: string, n = sequence): StoredEntry => ({
  stream: "telemetry",
  atMs: 1,
  key: { producer: "p", epoch: 1, sequence: n },
  body: Buffer.from(JSON.stringify(text)),
  position: { origin, sequence },
});
const plain = (sequence: number, text: string): StoredEntry => {
  const { key: _, ...entry } = keyed(sequence, text);
  return entry;
};
const log = (entries: readonly StoredEntry[], of = origin) => {
  const from = entries[0]?.position.sequence ?? 1;
  const to = entries.at(-1)?.position.sequence ?? 1;
  return decodeColumns(encodeBatch({ origin: of, from, to, entries }));
};

test("D7: an entry is told from another one by its key, or else by all of it", () => {
  const ask = { origin, from: 5, same: 0, other: 9 };
  for (const [theirs, here, expected] of [
    [[plain(5, "a")], [plain(5, "a")], "same"],
    [[plain(5, "b")], [plain(5, "a")], "other"],
    [[keyed(5, "a")], [plain(5, "a")], "other"],
    // Another node accepted it too, with another body, and its entry came there first (D4).
    [[keyed(5, "b")], [keyed(5, "a")], "same"],
    [[keyed(5, "a", 6)], [keyed(5, "a")], "other"],
    // Retention took it on one of the sides.
    [[plain(7, "c")], [plain(5, "a")], "nothing"],
    [[plain(5, "a")], [plain(7, "c")], "nothing"],
    [[], [plain(5, "a")], "nothing"],
  ] as const)
    assert.equal(compareShown(ask, log(theirs), log(here)), expected);
  assert.equal(compareShown(ask, log([plain(5, "a")]), undefined), "nothing");
  assert.equal(compareShown(ask, log([plain(5, "a")], "n2.b"), log([plain(5, "a")])), "nothing");
});

test("D7: beyond the end of the log anything is more, and a piece without an entry shows nothing", () => {
  const ask = { origin, from: 6, same: 0 };
  assert.equal(compareShown(ask, log([plain(7, "c")]), undefined), "other");
  assert.equal(compareShown(ask, log([]), undefined), "nothing");
});
