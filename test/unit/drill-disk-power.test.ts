/** The simulated power of a disk: it goes at any write, and what was committed by then is all there is. */
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore } from "../../src/data/index.ts";
import {
  createDiskPower,
  type DiskPower,
} from "../../src/drill/simulated/convergence/disk-power.ts";
import { roomyFolder } from "../../src/drill/faults/power-cut.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";

const batches = 3;
const perBatch = 4;

const random = seededRandom(1);

function open(path: string, { openFile }: Pick<DiskPower, "openFile">) {
  const deps = { clock: createSimulatedClock(), random, log: silentLog, openFile };
  return openStreamStore(deps, { path, node: "n1" });
}

/** Appends until the power goes, after so many writes; what a store finds afterwards. */
async function play(writes: number) {
  const dir = mkdtempSync(join(roomyFolder(), "skerry-power-"));
  const path = join(dir, "n1.db");
  try {
    let acknowledged = 0;
    let origin = "";
    const power = createDiskPower(path, () => undefined);
    power.cutAfter(writes);
    try {
      const store = open(path, power);
      await store.setStreams([{ name: "telemetry", retention: {} }]);
      ({ origin } = await store.observe({}));
      const append = (batch: number) =>
        store.append(
          Array.from({ length: perBatch }, (_, index) => ({
            stream: "telemetry",
            body: Buffer.from(JSON.stringify({ batch, index })),
          })),
        );
      for (let batch = 0; batch < batches; batch++) {
        const isStored = await append(batch).then(
          ({ state }) => state === "stored",
          (error: { code?: string }) => {
            assert.equal(error.code, "closed");
            return false;
          },
        );
        if (isStored) acknowledged = (batch + 1) * perBatch;
      }
      await store.close();
    } catch (error) {
      assert.equal((error as { code?: string }).code, "closed");
    }
    const wasOut = power.isOut;
    if (wasOut) power.restore();
    const again = open(
      path,
      createDiskPower(path, () => undefined),
    );
    await again.setStreams([{ name: "telemetry", retention: {} }]);
    const { entries } = await again.read({ stream: "telemetry" });
    const next = await again.observe({});
    await again.close();
    return {
      wasOut,
      acknowledged,
      found: entries.length,
      isNew: next.origin !== origin,
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("D1, D7: at whichever write the power goes, what was acknowledged is there, whole batches are, and the log begins anew", async () => {
  let cuts = 0;
  let unheard = 0;
  let lost = 0;
  for (let writes = 0; ; writes++) {
    const { wasOut, acknowledged, found, isNew } = await play(writes);
    assert.ok(found >= acknowledged && found - acknowledged <= perBatch, `${writes}: ${found}`);
    assert.equal(found % perBatch, 0, `${writes}: half a batch`);
    if (!wasOut) break;
    assert.ok(isNew, `${writes}: the log went on`);
    cuts++;
    if (found > acknowledged) unheard++;
    else if (acknowledged < batches * perBatch) lost++;
  }
  // In the opening, in each write of each batch, and between a commit and its answer.
  assert.ok(
    cuts > 40 && unheard >= batches - 1 && lost > 20,
    JSON.stringify({ cuts, unheard, lost }),
  );
});
