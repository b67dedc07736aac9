/**
 * The power fails, at any point of what the rooms do to the disk: what was acknowledged is there, and
 * nothing is there by half. And the harness itself: it notices an fsync that is missing.
 */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { seededRandom } from "../../src/lib/random.ts";
import { cutOften, powerFolder, powerOver } from "../support/power-cut.ts";

const seed = Number(process.env["SKERRY_SEED"] ?? 4);
const replay = `SKERRY_SEED=${seed} node --test test/integration/power-cut.test.ts`;

test("L2, D1, D7, C1, C3, M7, M9, I18: after 40 power cuts everything acknowledged is there, whole, and nothing went back", async () => {
  const { cuts, acknowledged, complaints } = await cutOften({ seed, cuts: 40 });
  assert.deepEqual(complaints, [], `again: ${replay}`);
  assert.equal(cuts, 40);
  assert.ok(acknowledged > 1000, `only ${acknowledged} acknowledged writes were looked for`);
});

test("the harness notices SQLite with synchronous=OFF", async () => {
  const preload = join(import.meta.dirname, "../support/power-cut-asynchronous.ts");
  const { complaints } = await cutOften({
    seed,
    cuts: 42,
    untilComplaint: true,
    env: { NODE_OPTIONS: `--import ${preload}` },
  });
  assert.match(
    complaints.join("\n"),
    /(ledger|streams|groups|documents|mirror|mqtt): /,
    `again: ${replay}`,
  );
});

test("the harness notices one directory's fsync that is missing", async () => {
  const { complaints } = await cutOften({
    seed,
    cuts: 42,
    untilComplaint: true,
    ignoreSyncOf: (folder) => join(folder, "keeper"),
  });
  assert.match(
    complaints.join("\n"),
    /records: keeper\/container-\d+ is version/,
    `again: ${replay}`,
  );
});

/** JavaScript in a process of its own, under the shim; `folder` is its data folder. */
function runIn(folder: string, env: Readonly<Record<string, string>>, script: string) {
  return spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import fs from "node:fs"; const folder = process.argv[1]; ${script}`,
      folder,
    ],
    { env: { ...process.env, ...env }, encoding: "utf8" },
  );
}

test("written and not synced may be gone; synced, with its folder, is there", () => {
  using folder = powerFolder();
  using disk = powerFolder();
  using power = powerOver(folder.path);
  const { status, stderr } = runIn(
    folder.path,
    power.env,
    `fs.writeFileSync(folder + "/loose", "x".repeat(2000));
     const fd = fs.openSync(folder + "/kept", "w");
     fs.writeSync(fd, "kept");
     fs.fsyncSync(fd);
     const above = fs.openSync(folder, "r");
     fs.fsyncSync(above);
     fs.writeFileSync(folder + "/later", "later");`,
  );
  assert.equal(status, 0, stderr);
  assert.deepEqual(power.unexplained(), []);
  const outcomes = new Set<string>();
  for (let round = 1; round <= 60; round++) {
    power.restoreAt(power.position, disk.path, seededRandom(round));
    assert.equal(readFileSync(join(disk.path, "kept"), "utf8"), "kept");
    assert.equal(existsSync(join(disk.path, "loose")), true, "its name was synced");
    const loose = readFileSync(join(disk.path, "loose"), "utf8");
    outcomes.add(loose === "" ? "empty" : loose === "x".repeat(2000) ? "whole" : "torn");
    outcomes.add(existsSync(join(disk.path, "later")) ? "named" : "nameless");
  }
  assert.deepEqual([...outcomes].sort(), ["empty", "named", "nameless", "torn", "whole"]);
});

test("a rename between folders is as durable as each of them: the new name when its folder was synced", () => {
  using folder = powerFolder();
  using disk = powerFolder();
  using power = powerOver(folder.path);
  const { status, stderr } = runIn(
    folder.path,
    power.env,
    `for (const name of ["", "/making", "/kept"]) {
       if (name) fs.mkdirSync(folder + name);
       fs.fsyncSync(fs.openSync(folder, "r"));
     }
     const fd = fs.openSync(folder + "/making/a", "w");
     fs.writeSync(fd, "whole");
     fs.fsyncSync(fd);
     fs.fsyncSync(fs.openSync(folder + "/making", "r"));
     fs.renameSync(folder + "/making/a", folder + "/kept/b");
     fs.fsyncSync(fs.openSync(folder + "/kept", "r"));`,
  );
  assert.equal(status, 0, stderr);
  assert.deepEqual(power.unexplained(), []);
  const leftovers = new Set<boolean>();
  for (let round = 1; round <= 30; round++) {
    power.restoreAt(power.position, disk.path, seededRandom(round));
    assert.equal(readFileSync(join(disk.path, "kept/b"), "utf8"), "whole");
    leftovers.add(existsSync(join(disk.path, "making/a")));
  }
  assert.deepEqual([...leftovers].sort(), [false, true], "the old name may still be there");
});

test("the power goes at a given change: its process is killed, and no later change is on the disk", () => {
  using folder = powerFolder();
  using power = powerOver(folder.path);
  power.cutAt(5);
  const { signal } = runIn(
    folder.path,
    power.env,
    `for (let n = 1; ; n++) {
       fs.mkdirSync(folder + "/d" + n);
       fs.fsyncSync(fs.openSync(folder, "r"));
     }`,
  );
  assert.equal(signal, "SIGKILL");
  assert.equal(power.isCut, true);
  power.restore(seededRandom(1));
  assert.deepEqual(
    ["d1", "d2", "d3"].map((name) => existsSync(join(folder.path, name))),
    [true, true, false],
  );
  assert.equal(power.isCut, false);
});

test("a change that the shim does not see, or does not know, is an error and no kind power cut", () => {
  using folder = powerFolder();
  using power = powerOver(folder.path);
  writeFileSync(join(folder.path, "foreign"), "not under the shim");
  assert.throws(() => power.restore(seededRandom(1)), { code: "drill-step-failed" });
  assert.match(power.unexplained().join(), /foreign: in the folder, not in the log/);
  const { signal, stderr } = runIn(
    folder.path,
    power.env,
    `fs.symlinkSync("elsewhere", folder + "/link");`,
  );
  assert.equal(signal, "SIGABRT");
  assert.match(stderr, /symlink on .* is not modelled/);
  assert.throws(() => power.restore(seededRandom(1)), /symlink on .* is not modelled/);
});

test("a folder that somebody made and was killed before it was durable is made durable by whoever uses it", () => {
  using folder = powerFolder();
  using disk = powerFolder();
  using power = powerOver(folder.path);
  const files = join(import.meta.dirname, "../../src/runtime/files/index.ts");
  assert.equal(runIn(folder.path, power.env, `fs.mkdirSync(folder + "/a");`).status, 0);
  const { status, stderr } = runIn(
    folder.path,
    power.env,
    `const { ensureDirectory, writeRecord } = await import(${JSON.stringify(files)});
     ensureDirectory(folder + "/a/b");
     writeRecord(folder + "/a/b/record", "kept");`,
  );
  assert.equal(status, 0, stderr);
  for (let round = 1; round <= 10; round++) {
    power.restoreAt(power.position, disk.path, seededRandom(round));
    assert.equal(existsSync(join(disk.path, "a/b/record")), true, `lost in round ${round}`);
  }
});

test("without a C compiler the drill exits 2 and says what installs one", () => {
  using folder = powerFolder();
  const launcher = join(import.meta.dirname, "../../bin/skerry.mjs");
  const { status, stderr } = spawnSync(process.execPath, [launcher, "drill", "power-cut"], {
    env: { PATH: folder.path, XDG_CACHE_HOME: folder.path, TMPDIR: folder.path },
    encoding: "utf8",
  });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /the C compiler cc, which is not on this host/);
  assert.match(stderr, /apt-get install .*gcc libc6-dev/);
});
