/** SIGKILL in the middle of appends, again and again: nothing acknowledged is gone. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { keysOf, range, telemetry, temporaryFolder } from "../support/data.ts";
import { killedAfter } from "../support/killed-after.ts";

for (const mode of ["rows", "sealing"] as const) {
  test(`D1, D7, S2: a process killed while it appends (${mode}) loses nothing acknowledged and doubles nothing, and goes on under a new origin`, () =>
    killAndCount(mode));
}

async function killAndCount(mode: "rows" | "sealing"): Promise<void> {
  using folder = temporaryFolder();
  const path = join(folder.path, "streams.db");
  const acknowledged: number[] = [];
  let first = 1;
  for (let round = 0; round < 4; round++) {
    const last = await killedAfter("data-writer", {
      path,
      first,
      acknowledgements: 20 + round * 13,
      mode,
    });
    acknowledged.push(...range(first, last));
    first = last + 1000;
  }
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node: "n1" },
  );
  await store.setStreams([telemetry]);
  const listed = await keysOf(store);
  assert.equal(new Set(listed).size, listed.length);
  const missing = acknowledged.map((n) => `p1/1/${n}`).filter((key) => !listed.includes(key));
  assert.deepEqual(missing, []);
  const vector = await store.vector();
  const total = Object.values(vector).reduce((sum, top) => sum + top, 0);
  assert.equal(total, listed.length);
  // One of each process; nothing was written since the last one was killed.
  assert.equal(Object.keys(vector).length, 4);
  const [{ sealed } = { sealed: 0 }] = (await store.status()).streams;
  assert.equal(sealed > 0, mode === "sealing", `${sealed} sealed`);
  await store.close();
}
