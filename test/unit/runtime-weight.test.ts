/** What an isolate loads is what it weighs: the heavy halves of libraries stay out of a node. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Agent } from "undici";
import { Pool } from "../../src/runtime/http-pool/index.ts";

/** Files of packages, and modules of Node's own, that are loaded once a door of `runtime/` is. */
function loadedBy(room: string): string[] {
  const url = new URL(`../../src/runtime/${room}/index.ts`, import.meta.url);
  const script = `
    await import(${JSON.stringify(url.href)});
    const { createRequire } = process.getBuiltinModule("node:module");
    const { cache } = createRequire(${JSON.stringify(fileURLToPath(url))});
    console.log(JSON.stringify([...Object.keys(cache), ...process.moduleLoadList]));`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script],
    { encoding: "utf8" },
  );
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as string[];
}

test("weight: the pools come without undici's fetch, and node:http without Node's own undici", () => {
  const pools = loadedBy("http-pool");
  assert.ok(pools.some((path) => path.endsWith("undici/lib/dispatcher/pool.js")));
  assert.deepEqual(
    pools.filter((path) => /undici\/(index|lib\/web\/fetch\/index)\.js$/.test(path)),
    [],
  );
  const http = loadedBy("node-http");
  assert.ok(http.some((name) => name.endsWith(" http")));
  assert.deepEqual(
    http.filter((name) => name.includes("deps/undici")),
    [],
  );
});

test("weight: the YAML library waits for its first use", () => {
  assert.deepEqual(
    loadedBy("yaml").filter((path) => path.includes("node_modules/yaml/")),
    [],
  );
});

test("weight: MQTT keeps no Buffer for each packet identifier that there is", async () => {
  await import("../../src/ingest/index.ts");
  const { cache } = createRequire(import.meta.url)("mqtt-packet/numbers.js") as { cache: object };
  assert.equal(Object.keys(cache).length, 0);
});

test("weight: a pool has the methods that the package's index would have given it", () => {
  const agent = new Agent();
  for (const method of ["request", "stream", "upgrade", "dispatch", "close", "destroy"] as const) {
    assert.equal(typeof Pool.prototype[method], "function", method);
    assert.equal(typeof agent[method], "function", method);
  }
});
