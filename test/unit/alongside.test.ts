/** Work that nobody awaits any more does not end the process. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { alongside } from "../../src/lib/alongside.ts";

test("what failed first is told, and what went on beside it ends nothing", () => {
  const module = new URL("../../src/lib/alongside.ts", import.meta.url).href;
  const script = (wrap: string) => `
    const { alongside } = await import(${JSON.stringify(module)});
    const beside = ${wrap}(Promise.reject(new Error("beside")));
    await new Promise((resolve) => setImmediate(resolve));
    console.log("went on");
  `;
  const run = (wrap: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", script(wrap)], { encoding: "utf8" });
  assert.equal(run("alongside").stdout, "went on\n");
  assert.equal(run("").stdout, "", "and without it the process ends");
});

test("its result and its failure are there for who awaits it", async () => {
  assert.equal(await alongside(Promise.resolve(3)), 3);
  await assert.rejects(alongside(Promise.reject(new Error("beside"))), /beside/);
});
