/** Holding a folder against the log of a power cut. */
import { strict as assert } from "node:assert";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { differences } from "../../src/drill/faults/power-cut-folder.ts";
import type { Found, Tree } from "../../src/drill/faults/power-cut-model.ts";

const file = (text: string): Found => ({
  ...{ kind: "file", mode: 0o600, mapped: false, inDoubt: false },
  bytes: Buffer.from(text),
});

test("a rename that its process did not live to log is no difference where its directory is in doubt; anything else is", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-power-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const names = { old: "as it was", new: "as it shall be", other: "untouched" };
  for (const [name, text] of Object.entries(names)) writeFileSync(join(folder, name), text);
  const logged: Tree = new Map(Object.entries(names).map(([name, text]) => [name, file(text)]));
  const found = (rootInDoubt: boolean) =>
    differences(folder, { tree: logged, rootInDoubt }, () => false);
  assert.deepEqual(found(false), []);
  renameSync(join(folder, "new"), join(folder, "old"));
  assert.deepEqual(found(true), []);
  assert.deepEqual(found(false), [
    "old: its content is not what was logged",
    "new: in the log, not in the folder",
  ]);
  writeFileSync(join(folder, "other"), "by a write that the log knows nothing of");
  assert.deepEqual(found(true), ["other: its content is not what was logged"]);
});
