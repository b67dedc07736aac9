/** What pods find in the file with their token, also while it is renewed. */
import { strict as assert } from "node:assert";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { createPodEnvironment } from "../../src/agent/pod-environment.ts";
import type { Pod } from "../../src/api/index.ts";

const pod: Pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "hello", namespace: "default", uid: "u1" },
  spec: { containers: [] },
};

test("a pod's token is replaced whole: who has the old one open reads the old one to its end", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-pods-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  let starts = 0;
  const environment = createPodEnvironment({
    folder,
    gatewayUrl: "http://127.0.0.1:7480",
    mint: () => `token ${++starts}`.repeat(20),
  });
  const given = await environment.variables(pod);
  assert.equal(given["SKERRY_GATEWAY"], "http://127.0.0.1:7480");
  const path = given["SKERRY_TOKEN_FILE"] ?? "";
  await using reader = await open(path);
  await environment.variables(pod);
  assert.equal(await reader.readFile("utf8"), "token 1".repeat(20));
  assert.equal(await readFile(path, "utf8"), "token 2".repeat(20));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(dirname(path)), ["token"]);
  await environment.release("u1");
  assert.equal(existsSync(dirname(path)), false);
});
