import { strict as assert } from "node:assert";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  hubRecordPath,
  readHubRecord,
  resolveHubRecord,
  writeHubRecord,
} from "../../src/hub/config.ts";
import { runHub } from "../../src/hub/index.ts";
import { lockHubFolder } from "../../src/hub/launch.ts";
import { trustByDomain } from "../../src/hub/paths/enrol-path.ts";
import { openCellRegistry } from "../../src/hub/registry.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { findInfo, writeInfo } from "../../src/runtime/local/index.ts";

function open(t: TestContext, dataDir = mkdtempSync(join(tmpdir(), "skerry-hub-"))) {
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const seen = { changes: 0 };
  const registry = openCellRegistry(dataDir, { nowMs: () => 0, onChange: () => seen.changes++ });
  return { dataDir, registry, seen };
}

test("of many who claim a domain at once one wins, and all are told the same", async (t) => {
  const { registry, seen } = open(t);
  const pins = Array.from({ length: 20 }, (_, i) => `pin-${i}`);
  const told = await Promise.all(pins.map((pin) => registry.claim("shop.skerry", pin)));
  assert.deepEqual(new Set(told), new Set(["pin-0"]));
  assert.equal(await registry.find("shop.skerry"), "pin-0");
  assert.equal(seen.changes, 1);
});

test("a claim alone is no cell: only after its token was spent is it listed, and once", async (t) => {
  const { dataDir, registry, seen } = open(t);
  await registry.claim("shop.skerry", "pin");
  assert.deepEqual([registry.cells(), registry.cellOf("shop.skerry")], [[], undefined]);
  registry.enrolled({ name: "nobody", trustDomain: "never-claimed.skerry" });
  registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
  registry.enrolled({ name: "other", trustDomain: "shop.skerry" });
  assert.equal(seen.changes, 2);
  const listed = [
    { trustDomain: "shop.skerry", cell: "shop", enrolledAt: "1970-01-01T00:00:00.000Z" },
  ];
  assert.deepEqual(registry.cells(), listed);
  const again = open(t, dataDir).registry;
  assert.deepEqual([again.cells(), await again.find("shop.skerry")], [listed, "pin"]);
});

test("a damaged record is refused, not taken for an empty one: every cell could be claimed anew", (t) => {
  const { dataDir, registry } = open(t);
  registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
  writeFileSync(join(dataDir, "cells.json"), "{}");
  assert.throws(() => open(t, dataDir), { code: "file-torn" });
});

test("a cell's trust is one object for as long as the hub runs", () => {
  const trustOf = trustByDomain({ trustDomain: "hub.skerry", anchorsPem: ["PEM"] });
  assert.equal(trustOf("shop.skerry"), trustOf("shop.skerry"));
  assert.notEqual(trustOf("shop.skerry"), trustOf("depot.skerry"));
  assert.deepEqual(trustOf("shop.skerry"), { trustDomain: "shop.skerry", anchorsPem: ["PEM"] });
});

test("a hub's folder stays the hub it was", (t) => {
  const { dataDir } = open(t);
  const record = { name: "hq", host: "127.0.0.1", port: 9443 };
  assert.deepEqual(resolveHubRecord({ dataDir, name: "hq" }, readHubRecord(dataDir)), record);
  assert.deepEqual(readHubRecord(dataDir), undefined, "resolving writes nothing");
  writeHubRecord(dataDir, record);
  const kept = readHubRecord(dataDir);
  assert.deepEqual(resolveHubRecord({ dataDir, port: 9000 }, kept), { ...record, port: 9000 });
  assert.throws(() => resolveHubRecord({ dataDir, name: "else" }, kept), {
    code: "invalid-config",
    message: /^name: "else" .* belongs to hub "hq"/,
  });
  writeRecord(hubRecordPath(dataDir), { format: 2, ...record });
  assert.throws(() => readHubRecord(dataDir), { code: "data-newer", message: /format 2/ });
});

test("one hub for a data folder: a second one ends without touching anything", async (t) => {
  const { dataDir } = open(t);
  const first = lockHubFolder(dataDir);
  const before = readdirSync(dataDir);
  const second = () =>
    runHub(
      { dataDir, host: "127.0.0.1", port: 0 },
      { signal: AbortSignal.abort(), onReady: () => undefined, logPath: join(dataDir, "log") },
    );
  await assert.rejects(second(), { code: "hub-running", message: /another hub \(pid \d+\) runs/ });
  assert.deepEqual(readdirSync(dataDir), before);
  first.release();
  lockHubFolder(dataDir).release();
});

test("where the command line finds a hub is written over when there is no room for a new file", (t) => {
  const { dataDir } = open(t);
  writeInfo(dataDir, "hub", { name: "hq", address: "127.0.0.1:9443" });
  // Stands in for a full disk: the file beside the old one cannot be made.
  mkdirSync(join(dataDir, "hub.info.json.new"));
  writeInfo(dataDir, "hub", { name: "hq" });
  assert.deepEqual(findInfo(dataDir, "hub"), { name: "hq" });
  mkdirSync(join(dataDir, "agent.json.new"));
  assert.throws(() => writeInfo(dataDir, "node", {}), { code: "file-unwritable" });
});
