/** A hub's move from SQLite into PostgreSQL: cut short, counted, and refused where it must not be. */
import { strict as assert } from "node:assert";
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  openGlobalDocuments,
  openGlobalStore,
  openPostgresDocuments,
  openPostgresStore,
} from "../../src/data/index.ts";
import { decodeOperations } from "../../src/data/documents/codec.ts";
import { readHubRecord, writeHubRecord } from "../../src/hub/config.ts";
import { openFleetLedger } from "../../src/hub/fleet-ledger.ts";
import { openPostgresFleet } from "../../src/hub/fleet-postgres.ts";
import { openFleet } from "../../src/hub/fleet.ts";
import { migrateHub } from "../../src/hub/index.ts";
import { createAuthority, createJoinToken } from "../../src/identity/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationRecheck, createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { parsePostgresUrl, withoutPassword } from "../../src/runtime/postgres/index.ts";
import { batch, readAllOf } from "../contract/data-global.ts";
import { range } from "../support/data.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { makeTempDir, takeDown } from "../support/site.ts";

const dir = makeTempDir("hub-migrates");
let server: TestPostgres;
before(async () => {
  server = await startPostgres({ host: "127.0.79.1" });
});
after(async () => {
  await takeDown(dir, []);
  await server[Symbol.asyncDispose]();
});

test("a hub moves from SQLite into PostgreSQL: cut short it goes on, and nothing is missing or doubled", async () => {
  const url = await server.freshUrl();
  const dataDir = join(dir, "sqlite");
  const nowMs = () => Date.now();
  const { pin } = await createAuthority(
    { random: systemRandom, nowMs },
    { folder: join(dataDir, "identity"), trustDomain: "hub.skerry" },
  );
  writeHubRecord(dataDir, { name: "hub", host: "127.0.79.12", port: 0 });
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
  const opened = () =>
    openFleet(deps, { ledger: openFleetLedger(deps, dataDir), onChange: () => {} });
  const before = await opened();
  await before.registry.claim("shop.skerry", "shop-key");
  await before.registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
  const { id } = await createJoinToken(
    { random: systemRandom, store: before.tokens, nowMs },
    { cell: "hub", pin },
  );
  await before.close();
  // Of an earlier version, which this one was never started after.
  writeRecord(join(dataDir, "cells.json"), { "depot.skerry": { pin: "depot-key", cell: "depot" } });
  const file = openGlobalStore(
    { ...deps, recheck: { check: () => {} } },
    { path: join(dataDir, "hub.db") },
  );
  for (const step of range(0, 11)) {
    await file.ingest("shop", batch("n1.x", step * 500 + 1, step * 500 + 500));
    // Half of these keys are there, and the log is shorter than its top.
    await file.ingest(
      "shop",
      batch("n2.y", step * 500 + 1, step * 500 + 500, { keysFrom: step * 500 + 251 }),
    );
    await file.ingest("mine", batch("n1.x", step * 500 + 1, step * 500 + 500));
  }
  await file.close();
  const documentDeps = { ...deps, recheck: createOperationRecheck() };
  const documents = openGlobalDocuments(documentDeps, { path: join(dataDir, "documents.db") });
  await documents.publish({ name: "prices", cells: ["shop"] });
  for (const at of range(1, 40))
    await documents.write([{ collection: "prices", id: `p${at % 9}`, do: "put", body: { at } }]);
  const query = { cell: "shop", collections: ["prices"] };
  const pulled = await documents.pull({ ...query, vector: {} });
  assert.ok(pulled);
  const { origin, from, texts } = decodeOperations(pulled);
  const listed = await documents.list({ collection: "prices" });
  await documents.close();

  const config = { dataDir, postgres: url };
  const stop = new AbortController();
  const run = (signal: AbortSignal, onProgress: (done: number) => void = () => {}) =>
    migrateHub(config, { ...deps, signal, onProgress: ({ entries }) => onProgress(entries) });
  await assert.rejects(run(stop.signal, (entries) => void (entries > 0 && stop.abort())));
  // The hub on SQLite may go on in between.
  const between = await opened();
  await between.tokens.takeOnce(id, "somebody");
  await between.close();
  const hub = { name: "hub", pin };
  const fleet = () =>
    openPostgresFleet(deps, { address: parsePostgresUrl(url), hub, onChange: () => {} });
  await assert.rejects(fleet(), { code: "migration-unfinished" });

  const { kept, place, before: earlier, ...counted } = await run(new AbortController().signal);
  assert.deepEqual(counted, { cells: 2, streams: 2, documents: 18, entries: 12_250 });
  assert.ok(earlier > 0 && earlier < 12_250, `${earlier} by the first run`);
  const [keptDocuments = "", keptStreams = "", keptFleet = ""] = kept;
  for (const [path, name] of [
    [keptDocuments, "documents.db"],
    [keptStreams, "hub.db"],
    [keptFleet, "fleet.db"],
  ] as const)
    assert.ok(existsSync(path) && !existsSync(join(dataDir, name)));
  assert.equal(place, `127.0.79.1:${server.port}/${new URL(url).pathname.slice(1)}`);
  assert.equal(readHubRecord(dataDir)?.postgres, withoutPassword(url));

  const moved = await fleet();
  assert.equal(moved.registry.cellOf("shop.skerry"), "shop");
  assert.equal(await moved.registry.find("shop.skerry"), "shop-key");
  assert.equal(moved.registry.cellOf("depot.skerry"), "depot");
  assert.equal(await moved.tokens.takeOnce(id, "somebody else"), "somebody");
  await assert.rejects(run(new AbortController().signal), { code: "no-data-folder" });
  renameSync(keptStreams, join(dataDir, "hub.db"));
  await assert.rejects(run(new AbortController().signal), { code: "hub-running" });
  await moved.close();

  const there = await openPostgresDocuments(documentDeps, { address: parsePostgresUrl(url) });
  assert.deepEqual(await there.list({ collection: "prices" }), listed);
  // The cell goes on in the log that it read from the file.
  await there.write([{ collection: "prices", id: "new", do: "put", body: { at: 41 } }]);
  const next = await there.pull({ ...query, vector: { [origin]: from + texts.length - 1 } });
  assert.ok(next);
  assert.deepEqual(decodeOperations(next).origin, origin);
  await there.close();

  const store = await openPostgresStore(
    { ...deps, recheck: createRecheck() },
    { address: parsePostgresUrl(url) },
  );
  try {
    assert.deepEqual(await store.vector("shop"), { "n1.x": 6000, "n2.y": 6000 });
    const shop = await readAllOf(store, { cell: "shop", limit: 10_000 });
    assert.deepEqual(
      shop.toSorted(),
      range(1, 6250)
        .map((n) => `shop p1/1/${n}`)
        .toSorted(),
    );
    assert.equal((await store.ingest("shop", batch("n3.z", 1, 6250))).stored, 0);
    assert.deepEqual(
      (await store.streams()).map(({ cell, entries }) => `${cell} ${entries}`),
      ["mine 6000", "shop 6250"],
    );
  } finally {
    await store.close();
  }
  const other = await server.freshUrl();
  const taken = await openPostgresStore(
    { ...deps, recheck: createRecheck() },
    { address: parsePostgresUrl(other) },
  );
  await taken.ingest("shop", batch("n1.x", 1, 1));
  await taken.close();
  await assert.rejects(
    migrateHub(
      { dataDir, postgres: other },
      { ...deps, signal: new AbortController().signal, onProgress: () => {} },
    ),
    { code: "hub-not-empty" },
  );
});
