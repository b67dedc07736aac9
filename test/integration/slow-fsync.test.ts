/** Storage that takes 5 or 50 ms for each fsync: writes share them, none is refused, none is lost. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { createSlowDisks } from "../../src/drill/faults/slow-disk.ts";
import { openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { keysOf, telemetry, temporaryFolder } from "../support/data.ts";
import { listing, openDocuments } from "../support/documents.ts";

const clients = 16;
const each = 10;

for (const delayMs of [5, 50]) {
  test(`D1, D9: with ${delayMs} ms an fsync, what comes meanwhile is in the next commit, acknowledged and kept`, async () => {
    using folder = temporaryFolder();
    const disks = createSlowDisks(folder.path);
    const entry = join(import.meta.dirname, "../support/slow-writer.entry.ts");
    const argv = [process.execPath, entry, folder.path, String(clients), String(each)];
    const [program = "", ...args] = disks.wrap("m1", argv);
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, "ready");
    disks.set("m1", delayMs);
    const before = disks.heldBack("m1");
    child.stdin.write("go\n");
    const states = JSON.parse((await lines.next()).value ?? "[]") as string[];
    const held = disks.heldBack("m1") - before;
    assert.deepEqual(
      [states.length, states.every((state) => state === "stored")],
      [clients * each * 2, true],
    );
    // Each store needs one for each round of all clients; alone they would be 320.
    assert.ok(held >= 2 * each && held <= 6 * each, `${held} fsyncs for ${states.length} writes`);

    const streams = openStreamStore(
      { clock: systemClock, random: systemRandom, log: silentLog },
      { path: join(folder.path, "streams.db"), node: "n1" },
    );
    await streams.setStreams([telemetry]);
    const documents = await openDocuments(join(folder.path, "documents.db"));
    assert.equal(new Set(await keysOf(streams)).size, clients * each);
    assert.equal((await listing(documents)).length, clients * each);
    await Promise.all([streams, documents].map((store) => store.close()));
  });
}
