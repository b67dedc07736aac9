/** What the doctor says of a disk that takes nothing any more: that is when people ask it. */
import { strict as assert } from "node:assert";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { examineHost } from "../../src/agent/doctor.ts";
import { systemCode } from "../../src/lib/errors.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/ledger.ts";
import { smallDisk } from "../support/small-disk.ts";

const diskOf = (dataDir: string) =>
  examineHost({ dataDir, clock: systemClock, searchPath: "" }).find(
    ({ check }) => check === "disk",
  );

test("a full disk is found, with what it means, and nothing is left on it", async () => {
  await using dir = await temporaryFolder();
  using small = smallDisk(join(dir.path, "small"), "256k");
  const { path: disk } = small;
  assert.equal(diskOf(disk)?.state, "ok");
  assert.throws(
    () => writeFileSync(join(disk, "filler"), Buffer.alloc(1024 * 1024)),
    (error) => systemCode(error) === "ENOSPC",
  );
  const found = diskOf(disk);
  assert.equal(found?.state, "limited");
  assert.equal(found.found, `nothing can be written in ${disk}: ENOSPC`);
  assert.match(found.meaning ?? "", /what was acknowledged is safe/);
  assert.deepEqual(readdirSync(disk), ["filler"]);
});

test("a folder that takes no file is found as well", () => {
  // Not even root makes one there.
  const found = diskOf("/proc/self");
  assert.equal(found?.state, "limited");
  assert.match(found.found, /^nothing can be written in \/proc\/self: E[A-Z]+$/);
});
