/** A hub on SQLite whose disk is full: what it refuses is not there by half, and is taken when there is room. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openGlobalDocuments, openGlobalStore } from "../../src/data/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationRecheck, createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { batch, linesOf } from "../contract/data-global.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { bodies, clear, originOf } from "../support/documents-global.ts";
import { openDocuments, put, write } from "../support/documents.ts";

const deps = { clock: systemClock, random: systemRandom, log: silentLog };
const full = { code: "disk-full", retryable: true };
const requireFull = (error: unknown) => {
  assert.ok(error instanceof SkerryError);
  assert.deepEqual({ code: error.code, retryable: error.retryable }, full);
};

for (const [name, size] of [
  ["a few at a time", 5],
  ["by the hundred, sealed as they come", 150],
] as const) {
  test(`D1, D2: entries ${name}: a full hub moves no vector, reads on, and takes the same later`, async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "hub.db");
    const open = (fileBytesMax?: number) =>
      openGlobalStore({ ...deps, recheck: createRecheck() }, { path, fileBytesMax });
    let store = open(300_000);
    const body = () => ({
      n: Buffer.from(range(1, 1000).map(() => systemRandom.integer(256))).toString("hex"),
    });
    let top = 0;
    let refused: Uint8Array | undefined;
    for (let from = 1; !refused && from < 30_000; from += size) {
      const bytes = batch("n1.a", from, from + size - 1, { body: body() });
      try {
        ({ top } = await store.ingest("shop", bytes));
      } catch (error) {
        requireFull(error);
        refused = bytes;
      }
    }
    assert.ok(refused && top >= size, `refused behind ${top}`);
    await assert.rejects(store.ingest("shop", refused), full);
    const isWhole = async (upto: number) => {
      assert.deepEqual(await store.vector("shop"), { "n1.a": upto });
      const { telemetry = [] } = await linesOf(store, "shop");
      assert.deepEqual(
        telemetry.map((line) => Number(line.split(" ")[1])).sort((a, b) => a - b),
        range(1, upto),
      );
    };
    await isWhole(top);
    await store.close();
    store = open();
    await isWhole(top);
    assert.deepEqual((await store.ingest("shop", refused)).top, top + size);
    await isWhole(top + size);
    await store.close();
  });
}

test("D2, M12: documents: a full hub tells what it has durably, and no more; later the same piece is taken", async () => {
  using folder = temporaryFolder();
  const node = await openDocuments(join(folder.path, "node.db"));
  const path = join(folder.path, "hub.db");
  const open = (fileBytesMax?: number) =>
    openGlobalDocuments(
      { ...deps, recheck: createOperationRecheck() },
      { path, ...(fileBytesMax === undefined ? {} : { fileBytesMax }) },
    );
  let hub = open(1_000_000);
  const policies = { items: { drop: [] } };
  for (const n of range(1, 100)) await write(node, put(`d${n}`, { name: "x".repeat(20_000) + n }));
  const origin = await originOf(node);
  const send = (from: number) =>
    hub.ingest("shop", clear(node, policies, { origin, from, to: from + 4 }));
  let top = 0;
  for (let isFull = false; !isFull;) {
    try {
      const { items } = await send(top + 1);
      top = items?.state === "open" ? (items.tops[origin] ?? 0) : 0;
    } catch (error) {
      requireFull(error);
      isFull = true;
    }
  }
  assert.ok(top >= 5 && top < 95, `full behind ${top}`);
  assert.equal((await bodies(hub)).length, top);
  await hub.close();
  hub = open();
  assert.equal((await bodies(hub)).length, top);
  while (top < 100) {
    const { items } = await send(top + 1);
    top = items?.state === "open" ? (items.tops[origin] ?? 0) : 0;
  }
  assert.equal((await bodies(hub)).length, 100);
  await Promise.all([hub.close(), node.close()]);
});
