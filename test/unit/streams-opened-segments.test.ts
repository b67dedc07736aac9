/** Unpacked segments in memory: bounded, and no longer there than somebody reads them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { columnsOfRows, type Segment } from "../../src/data/batch/segment.ts";
import { createOpenedSegments } from "../../src/data/tables/opened-segments.ts";

function reader(bytesMax: number) {
  const opened = createOpenedSegments(bytesMax);
  const unpacked: number[] = [];
  const row: Segment["row"] = () => assert.fail("no row is read here");
  const read = (id: number) =>
    opened.get(id, () => {
      unpacked.push(id);
      return { ...columnsOfRows([]), row, bytes: 100 };
    });
  /** Those of `ids` that had to be unpacked. */
  const misses = (...ids: number[]) => {
    unpacked.length = 0;
    for (const id of ids) read(id);
    return [...unpacked];
  };
  return { opened, misses };
}

test("the least recently used goes when there is no room", () => {
  const { misses } = reader(300);
  assert.deepEqual(misses(1, 2, 3, 1, 4), [1, 2, 3, 4]);
  assert.deepEqual(misses(1, 3, 4), []);
  assert.deepEqual(misses(2), [2]);
});

test("what nobody read between two trims goes, what was read stays", () => {
  const { opened, misses } = reader(1000);
  misses(1, 2, 3);
  opened.trim();
  assert.deepEqual(misses(2), [], "all were read since the trim before");
  opened.trim();
  assert.deepEqual(misses(1, 2, 3), [1, 3]);
});

test("what goes gives its room back", () => {
  const { opened, misses } = reader(200);
  misses(1, 2);
  opened.trim();
  opened.trim();
  opened.delete(1);
  assert.deepEqual(misses(1, 2), [1, 2]);
  assert.deepEqual(misses(1, 2), []);
});
