import { strict as assert } from "node:assert";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  agentConfigSchema,
  nodeRecordPath,
  readNodeRecord,
  resolveNodeRecord,
  writeNodeRecord,
} from "../../src/agent/config.ts";
import {
  forgetInStartConfig,
  readStartConfig,
  writeStartConfig,
} from "../../src/agent/start-config.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-config-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Of the right shape; nobody looks further here. */
const tokenFor = (cell: string) =>
  `skt1.${cell}.${"a".repeat(12)}.${"s".repeat(43)}.${"p".repeat(43)}`;

const first = resolveNodeRecord({ dataDir: "/d", cell: "shop", node: "n1" }, undefined);

test("the first machine is a server with the ports of the documentation, and careful", () => {
  assert.deepEqual(first, {
    cell: "shop",
    node: "n1",
    role: "server",
    host: "127.0.0.1",
    ports: {
      api: 7443,
      mesh: 7444,
      peers: 7445,
      gateway: 7480,
      mqtt: 8883,
      ingress: 8080,
      ledger: 7446,
      ledgerPeers: 7447,
    },
    telemetry: true,
    evict: "careful",
  });
});

test("a joiner is a worker; the token names its cell", () => {
  const record = resolveNodeRecord(
    { dataDir: "/d", node: "n2", join: tokenFor("shop"), server: "10.0.0.1:7445" },
    undefined,
  );
  assert.deepEqual([record.role, record.cell], ["worker", "shop"]);
});

test("a later start keeps what was, and takes what is given now", () => {
  const kept = { ...first, hub: "10.0.0.9:9443", serverApi: "10.0.0.1:7443" };
  assert.deepEqual(resolveNodeRecord({ dataDir: "/d" }, kept), kept);
  const changed = resolveNodeRecord(
    { dataDir: "/d", host: "10.0.0.5", evict: "eager", telemetry: false, mqttPlainPort: 1883 },
    kept,
  );
  assert.deepEqual(
    [changed.host, changed.evict, changed.telemetry, changed.ports.mqttPlain, changed.hub],
    ["10.0.0.5", "eager", false, 1883, "10.0.0.9:9443"],
  );
});

test("what would make another node or half a join of a folder is refused by field and value", () => {
  const refusals: [Parameters<typeof resolveNodeRecord>, RegExp][] = [
    [[{ dataDir: "/d", node: "n9" }, first], /^node: "n9" was given, but \/d belongs to node "n1"/],
    [[{ dataDir: "/d", cell: "depot" }, first], /^cell: "depot" .* belongs to cell "shop"/],
    [[{ dataDir: "/d", join: tokenFor("depot"), server: "a:1" }, first], /^cell: "depot"/],
    [[{ dataDir: "/d", node: "n1" }, undefined], /^cell: missing/],
    [[{ dataDir: "/d", cell: "shop" }, undefined], /^node: missing/],
    [[{ dataDir: "/d", node: "n2", join: tokenFor("shop") }, undefined], /^server: missing/],
    [[{ dataDir: "/d", node: "n2", server: "a:1" }, undefined], /^join: missing/],
  ];
  for (const [given, words] of refusals)
    assert.throws(() => resolveNodeRecord(...given), { code: "invalid-config", message: words });
});

test("fields are judged one by one", () => {
  const wrong: Record<string, unknown>[] = [
    { cell: "Shop" },
    { node: "-n1" },
    { host: "localhost" },
    { server: "10.0.0.1" },
    { apiPort: 70_000 },
    { meshPort: "many" },
    { telemetry: "yes" },
    { evict: "always" },
    { logLevel: "loud" },
    { unknownField: 1 },
  ];
  for (const fields of wrong) {
    const result = agentConfigSchema.safeParse({ dataDir: "/d", ...fields });
    const issue = result.error?.issues[0];
    const named = issue?.path.join(".") || (issue && "keys" in issue ? String(issue.keys) : "");
    assert.equal(named, Object.keys(fields)[0]);
  }
});

test("a record survives its file; one without evict is careful, a damaged or foreign one is refused", (t) => {
  const dataDir = folder(t);
  assert.equal(readNodeRecord(dataDir), undefined);
  writeNodeRecord(dataDir, first);
  assert.deepEqual(readNodeRecord(dataDir), first);
  const { evict: _, ...before } = first;
  writeRecord(nodeRecordPath(dataDir), before);
  assert.deepEqual(readNodeRecord(dataDir), first);
  writeRecord(nodeRecordPath(dataDir), { ...first, role: "king" });
  assert.throws(() => readNodeRecord(dataDir), { code: "invalid-config", message: /role/ });
  writeFileSync(nodeRecordPath(dataDir), "torn");
  assert.throws(() => readNodeRecord(dataDir), { code: "file-torn" });
});

test("tokens stand in a file that only its owner reads, and are struck out once spent", (t) => {
  const dataDir = folder(t);
  const path = join(dataDir, "start.json");
  const config = {
    dataDir,
    node: "n2",
    join: tokenFor("shop"),
    server: "a:1",
    hubToken: "sky1.hub.y",
  };
  writeStartConfig(config);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readStartConfig(dataDir), config);
  forgetInStartConfig(dataDir, ["join", "server"]);
  assert.deepEqual(readStartConfig(dataDir), { dataDir, node: "n2", hubToken: "sky1.hub.y" });
  forgetInStartConfig(dataDir, ["hubToken"]);
  assert.doesNotMatch(readFileSync(path, "utf8"), /sky1/);
  const { ino } = statSync(path);
  forgetInStartConfig(dataDir, ["hubToken", "join"]);
  assert.equal(statSync(path).ino, ino);
});

test("without a start file the folder alone is enough; a foreign one is refused by field", (t) => {
  const dataDir = folder(t);
  assert.deepEqual(readStartConfig(dataDir), { dataDir });
  writeRecord(join(dataDir, "start.json"), { dataDir, colour: "red" });
  assert.throws(() => readStartConfig(dataDir), { code: "invalid-config", message: /colour/ });
});
