import { strict as assert } from "node:assert";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  hubRecordPath,
  readHubRecord,
  resolveHubRecord,
  writeHubRecord,
} from "../../src/hub/config.ts";
import { takeOverFleetFiles } from "../../src/hub/fleet-files.ts";
import { fleetLedgerPath, openFleetLedger } from "../../src/hub/fleet-ledger.ts";
import { readFleet } from "../../src/hub/fleet-records.ts";
import { openFleet } from "../../src/hub/fleet.ts";
import { runHub } from "../../src/hub/index.ts";
import { lockHubFolder } from "../../src/hub/launch.ts";
import { trustByDomain } from "../../src/hub/paths/enrol-path.ts";
import { openCellRegistry } from "../../src/hub/registry.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { findInfo, writeInfo } from "../../src/runtime/local/index.ts";
import { failing, unavailableError, withFaults } from "../support/ledger-faults.ts";
import { hostDeps } from "../support/ledger.ts";
import { writeFolderTokens } from "../support/tokens.ts";
import { waitFor } from "../support/wait.ts";

function dataFolder(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), "skerry-hub-"));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  return dataDir;
}

async function open(t: TestContext, dataDir = dataFolder(t)) {
  const ledger = openFleetLedger(hostDeps, dataDir);
  const seen = { changes: 0 };
  const fleet = await openFleet(
    { ...hostDeps, clock: createSimulatedClock() },
    { ledger, onChange: () => seen.changes++ },
  );
  t.after(() => fleet.close());
  return { dataDir, ledger, fleet, registry: fleet.registry, seen };
}

test("of many who claim a domain at once one wins, and all are told the same", async (t) => {
  const { registry, seen } = await open(t);
  const pins = Array.from({ length: 20 }, (_, i) => `pin-${i}`);
  const told = await Promise.all(pins.map((pin) => registry.claim("shop.skerry", pin)));
  assert.deepEqual(new Set(told), new Set(["pin-0"]));
  assert.equal(await registry.find("shop.skerry"), "pin-0");
  assert.equal(seen.changes, 0);
});

test("a claim or an enrolment whose outcome nobody heard is looked at, and made once", async (t) => {
  const { ledger } = await open(t);
  for (const state of ["lose-answer", "lose-request"] as const) {
    const lost = failing({ state }, 1);
    const faulty = withFaults(ledger, { transact: lost });
    const registry = await openCellRegistry(
      { ...hostDeps, ledger: faulty },
      { onChange: () => {} },
    );
    t.after(() => registry[Symbol.asyncDispose]());
    const domain = `${state}.skerry`;
    assert.equal(await registry.claim(domain, "pin"), "pin");
    assert.equal(await registry.claim(domain, "other"), "pin");
    const again = failing({ state }, 1);
    const enrolling = await openCellRegistry(
      { ...hostDeps, ledger: withFaults(ledger, { transact: again }) },
      { onChange: () => {} },
    );
    t.after(() => enrolling[Symbol.asyncDispose]());
    await enrolling.enrolled({ name: "shop", trustDomain: domain });
    assert.equal(enrolling.cellOf(domain), "shop");
    await waitFor(() => registry.cellOf(domain) === "shop", { what: "word of it" });
  }
});

test("a claim alone is no cell: only after its token was spent is it listed, and once", async (t) => {
  const { dataDir, fleet, registry, seen } = await open(t);
  await registry.claim("shop.skerry", "pin");
  assert.deepEqual([registry.cells(), registry.cellOf("shop.skerry")], [[], undefined]);
  await registry.enrolled({ name: "nobody", trustDomain: "never-claimed.skerry" });
  await registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
  await registry.enrolled({ name: "other", trustDomain: "shop.skerry" });
  assert.equal(seen.changes, 1);
  const listed = [
    { trustDomain: "shop.skerry", cell: "shop", enrolledAt: "2026-01-01T00:00:00.000Z" },
  ];
  assert.deepEqual(registry.cells(), listed);
  await fleet.close();
  const again = (await open(t, dataDir)).registry;
  assert.deepEqual([again.cells(), await again.find("shop.skerry")], [listed, "pin"]);
});

test("the copy in memory goes on where a watch ended, and hears of what others enrolled", async (t) => {
  const { ledger, registry: other } = await open(t);
  let breaks = 2;
  const breaking: Ledger = {
    ...ledger,
    async *watch(prefix, options) {
      for await (const batch of ledger.watch(prefix, options)) {
        if (batch.events.length > 0 && breaks-- > 0) throw unavailableError();
        yield batch;
      }
    },
  };
  let changes = 0;
  const registry = await openCellRegistry(
    { ...hostDeps, ledger: breaking },
    { onChange: () => changes++ },
  );
  t.after(() => registry[Symbol.asyncDispose]());
  for (const name of ["a", "b", "c"]) {
    await other.claim(`${name}.skerry`, name);
    await other.enrolled({ name, trustDomain: `${name}.skerry` });
    await waitFor(() => registry.cellOf(`${name}.skerry`) === name, { what: `word of ${name}` });
  }
  assert.equal(breaks < 0, true);
  assert.equal(changes, 3);
});

/** As an earlier version left it: two cells, one of them only claimed, a spent token and an open one. */
function earlierFolder(dataDir: string) {
  writeRecord(join(dataDir, "cells.json"), {
    "shop.skerry": { pin: "k1", cell: "shop", enrolledAt: "2026-01-01T00:00:00.000Z" },
    "depot.skerry": { pin: "k2" },
  });
  const token = { secretHash: "00", expiresAtMs: Date.now() + 60_000 };
  writeFolderTokens(join(dataDir, "tokens"), [
    { token: { id: "spent", ...token }, usedBy: "key-a" },
    { token: { id: "open", ...token } },
  ]);
}

async function assertTakenOver(ledger: Ledger, dataDir: string) {
  const { cells, tokens } = await readFleet(ledger);
  assert.deepEqual(cells, [
    { trustDomain: "depot.skerry", pin: "k2" },
    { trustDomain: "shop.skerry", pin: "k1", cell: "shop", enrolledAt: "2026-01-01T00:00:00.000Z" },
  ]);
  assert.deepEqual(
    tokens.map(({ token, usedBy }) => [token.id, usedBy]),
    [
      ["open", undefined],
      ["spent", "key-a"],
    ],
  );
  for (const name of ["cells.json", "tokens"])
    assert.deepEqual(
      [existsSync(join(dataDir, name)), existsSync(join(dataDir, `${name}.migrated`))],
      [false, true],
    );
}

test("cells and tokens that an earlier version kept in files move into the ledger, used ones as used", async (t) => {
  const dataDir = dataFolder(t);
  earlierFolder(dataDir);
  const { ledger } = await open(t, dataDir);
  await takeOverFleetFiles(ledger, dataDir);
  await assertTakenOver(ledger, dataDir);
  // Of an upgrade that was taken back for a while.
  earlierFolder(dataDir);
  await takeOverFleetFiles(ledger, dataDir);
  await assertTakenOver(ledger, dataDir);
});

test("a hub takes over what stands in its folder before it takes anything", async (t) => {
  const dataDir = dataFolder(t);
  earlierFolder(dataDir);
  const stop = new AbortController();
  await runHub(
    { dataDir, name: "hq", host: "127.0.0.1", port: 0 },
    { signal: stop.signal, onReady: () => stop.abort(), logPath: join(dataDir, "log") },
  );
  const { ledger, registry } = await open(t, dataDir);
  await assertTakenOver(ledger, dataDir);
  assert.equal(registry.cellOf("shop.skerry"), "shop");
});

test("a move that was cut short is done again: what the files say meanwhile counts", async (t) => {
  const dataDir = dataFolder(t);
  earlierFolder(dataDir);
  rmSync(join(dataDir, "tokens", "spent.used"));
  const { ledger } = await open(t, dataDir);
  await assert.rejects(
    takeOverFleetFiles(
      withFaults(ledger, { transact: failing({ state: "lose-answer" }) }),
      dataDir,
    ),
    { code: "ledger-unavailable" },
  );
  // By an earlier version that was started again.
  writeRecord(join(dataDir, "tokens", "spent.used"), { by: "key-a" });
  await takeOverFleetFiles(ledger, dataDir);
  await assertTakenOver(ledger, dataDir);
  // Its name was changed, and nothing more.
  renameSync(join(dataDir, "cells.json.migrated"), join(dataDir, "cells.json"));
  await takeOverFleetFiles(ledger, dataDir);
  await assertTakenOver(ledger, dataDir);
});

test("a damaged record is refused, not taken for an empty one: every cell could be claimed anew", async (t) => {
  const dataDir = dataFolder(t);
  earlierFolder(dataDir);
  writeFileSync(join(dataDir, "cells.json"), "{}");
  const { ledger, fleet } = await open(t, dataDir);
  await assert.rejects(takeOverFleetFiles(ledger, dataDir), { code: "file-torn" });
  await fleet.close();
  writeFileSync(fleetLedgerPath(dataDir), "garbage".repeat(1000));
  await assert.rejects(open(t, dataDir), { code: "store-damaged", hint: /enrolled again/ });
});

test("a cell's trust is one object for as long as the hub runs", () => {
  const trustOf = trustByDomain({ trustDomain: "hub.skerry", anchorsPem: ["PEM"] });
  assert.equal(trustOf("shop.skerry"), trustOf("shop.skerry"));
  assert.notEqual(trustOf("shop.skerry"), trustOf("depot.skerry"));
  assert.deepEqual(trustOf("shop.skerry"), { trustDomain: "shop.skerry", anchorsPem: ["PEM"] });
});

test("a hub's folder stays the hub it was", (t) => {
  const dataDir = dataFolder(t);
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
  const dataDir = dataFolder(t);
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
  const dataDir = dataFolder(t);
  writeInfo(dataDir, "hub", { name: "hq", address: "127.0.0.1:9443" });
  // Stands in for a full disk: the file beside the old one cannot be made.
  mkdirSync(join(dataDir, "hub.info.json.new"));
  writeInfo(dataDir, "hub", { name: "hq" });
  assert.deepEqual(findInfo(dataDir, "hub"), { name: "hq" });
  mkdirSync(join(dataDir, "agent.json.new"));
  assert.throws(() => writeInfo(dataDir, "node", {}), { code: "file-unwritable" });
});
