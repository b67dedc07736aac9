/** Hub processes on one PostgreSQL: started by the command, one killed while a cell sends. */
import { strict as assert } from "node:assert";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { FleetStatus } from "../../src/api/index.ts";
import {
  connectHub,
  createHubSync,
  encodeBatch,
  openGlobalDocuments,
  openGlobalStore,
  openPostgresDocuments,
  openPostgresStore,
  openStreamStore,
} from "../../src/data/index.ts";
import { decodeOperations } from "../../src/data/documents/codec.ts";
import { readHubRecord, writeHubRecord } from "../../src/hub/config.ts";
import { migrateHub } from "../../src/hub/index.ts";
import { openCellRegistry } from "../../src/hub/registry.ts";
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  createFolderTokenStore,
  createJoinToken,
  parseJoinToken,
  spiffeId,
  type Authority,
} from "../../src/identity/index.ts";
import { openPostgresFleet } from "../../src/hub/fleet-postgres.ts";
import { explain, SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createGate,
  createOperationRecheck,
  createRecheck,
  type Cleared,
} from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  openPostgres,
  parsePostgresUrl,
  withoutPassword,
} from "../../src/runtime/postgres/index.ts";
import { createRouter, dial, enrol } from "../../src/transport/index.ts";
import { batch, readAllOf } from "../contract/data-global.ts";
import { entry, range, telemetry } from "../support/data.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { postgresPassword, startPostgres, type TestPostgres } from "../support/postgres.ts";
import { makeTempDir, skerryJson, takeDown, type HubInfo } from "../support/site.ts";
import { testDeps } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 60_000;
const dir = makeTempDir("hub-postgres");
const folders = ["a", "b"].map((name) => join(dir, name)) as [string, string];
let server: TestPostgres;
before(async () => {
  server = await startPostgres({ host: "127.0.65.1" });
});
after(async () => {
  await takeDown(dir, folders);
  await server[Symbol.asyncDispose]();
});

/** Cells reach the hubs by the balancer at this address only. */
const front = "127.0.65.2";

const startHub = (dataDir: string, url: string) =>
  skerryJson<HubInfo>(
    [
      ...["hub", "--data", dataDir, "--host", "127.0.65.10", "--port", "0", "--detach"],
      ...["--authority", join(dir, "authority"), "--proxy-protocol", front],
    ],
    { env: { SKERRY_HUB_POSTGRES: url }, timeoutMs },
  );

async function enrolCell(
  hubDir: string,
  address: { host: string; port: number },
): Promise<Authority> {
  const { token } = await skerryJson<{ token: string }>(
    ["token", "create", "--data", hubDir, "--cell", "shop"],
    { timeoutMs },
  );
  const authority = await createAuthority(
    { random: systemRandom, nowMs: () => Date.now() },
    { folder: join(dir, "shop"), trustDomain: "shop.skerry" },
  );
  const { trustDomain, pin } = parseJoinToken(token);
  const request = await cellRequest(authority, { token });
  acceptCellAnswer(
    authority,
    await enrol(
      { clock: systemClock, nowMs: () => Date.now() },
      { ...address, trustDomain, pin, request },
    ),
  );
  return authority;
}

test("D2, D4: a hub process is killed while a cell sends, and the cell goes on with the other", async () => {
  const url = await server.freshUrl();
  const a = await startHub(folders[0], url);
  const b = await startHub(folders[1], url);
  const servers = [a.address, b.address];
  await using balancer = await startHaproxy({ host: front, folder: dir, servers });
  const authority = await enrolCell(folders[0], balancer);
  const hubTrust = authority.hub?.trust;
  assert.ok(hubTrust);
  const own = await authority.issueCredentials(spiffeId("shop.skerry", "node", "n1"));

  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: join(dir, "streams.db"), node: "n1" },
  );
  await store.setStreams([telemetry]);
  const gate = createGate({ encode: encodeBatch, log: silentLog });
  gate.setPolicies({ telemetry: { keep: ["n"] } });
  const sync = createHubSync<Cleared<Uint8Array>>(
    {
      store,
      egress: {
        async clear(query) {
          const batch = store.readLeaving(query);
          return batch && gate.clear(batch);
        },
      },
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    },
    { node: "n1", batchBytesMax: 4096 },
  );
  const dialled = dial(testDeps, {
    address: balancer,
    expect: hubTrust.trustDomain,
    credentials: () => own,
    trusts: () => [authority.trust, hubTrust],
    router: createRouter(),
    backoff: { initialMs: 50, maxMs: 500 },
  });
  dialled.on("up", (link) => sync.attach(connectHub<Cleared<Uint8Array>>(link), link.closed));
  try {
    const origin = Object.keys(await store.vector())[0] ?? "n1.0";
    const total = 20_000;
    const append = async (from: number, to: number) => {
      for (let first = from; first <= to; first += 500)
        await store.append(range(first, Math.min(to, first + 499)).map((n) => entry(n)));
    };
    await append(1, total / 2);
    const arrived = () => Object.values(sync.vector()).reduce((sum, top) => sum + top, 0);
    await waitFor(() => arrived() > 500, { what: `entries of ${origin} at the hub`, timeoutMs });
    process.kill(a.pid, "SIGKILL");
    await append(total / 2 + 1, total);
    await waitFor(() => arrived() >= total, { what: "all entries at the other hub", timeoutMs });

    const fleet = await skerryJson<FleetStatus>(["status", "--data", folders[1]], { timeoutMs });
    assert.deepEqual(
      fleet.cells.map(({ cell, streams }) => [
        cell,
        streams.map(({ name, entries }) => `${name} ${entries}`),
      ]),
      [["shop", [`telemetry ${total}`]]],
    );
    assert.deepEqual(fleet.store, {
      engine: "postgres",
      place: `127.0.65.1:${server.port}/${new URL(url).pathname.slice(1)}`,
    });
    await using database = await server.open(url);
    const [row] = await database.use((session) =>
      session.query(
        "SELECT count(*) AS entries, count(DISTINCT sequence) AS keys, max(sequence) AS newest FROM skerry.entries",
      ),
    );
    assert.deepEqual(row, { entries: total, keys: total, newest: total });
  } finally {
    await dialled.close();
    sync.stop();
    await store.close();
  }

  // Who the cell is was told by the balancer: it is in the log, not the balancer's own address.
  const linked = readFileSync(join(folders[1], "logs", "hub.log"), "utf8")
    .split("\n")
    .filter((line) => line.includes('"link up"'));
  assert.ok(linked.length > 0 && linked.every((line) => line.includes('"remote":"127.0.0.1"')));

  // The password is nowhere that people look.
  const cmdline = readFileSync(`/proc/${b.pid}/cmdline`, "utf8");
  for (const text of [
    cmdline,
    readFileSync(join(folders[1], "hub.json"), "utf8"),
    readFileSync(join(folders[1], "hub.info.json"), "utf8"),
    readFileSync(join(folders[1], "logs", "hub.log"), "utf8"),
  ]) {
    assert.ok(
      !text.includes(postgresPassword) && !text.includes(encodeURIComponent(postgresPassword)),
    );
  }
});

test("what is wrong with PostgreSQL is said with what to do", async () => {
  const url = await server.freshUrl();
  const failure = async (wrong: string): Promise<SkerryError> => {
    const opened = await openPostgresFleet(
      { clock: systemClock, log: silentLog },
      { address: parsePostgresUrl(wrong), hub: { name: "hub", pin: "one" }, onChange: () => {} },
    ).catch((error: SkerryError) => error);
    assert.ok(opened instanceof SkerryError, wrong);
    assert.ok(!explain(opened).includes(postgresPassword), explain(opened));
    return opened;
  };
  const codeOf = async (wrong: string) => (await failure(wrong)).code;
  assert.equal(await codeOf(url.replace(/:\d+\//, ":1/")), "database-unreachable");
  const password = encodeURIComponent(postgresPassword);
  assert.equal(await codeOf(url.replace(password, "wrong")), "database-refused");
  assert.equal(await codeOf(url.replace(`:${password}`, "")), "database-refused");
  assert.match(
    (await failure(url.replace(/[^/]+$/, "nowhere?connect_timeout=60"))).hint ?? "",
    /CREATE DATABASE/,
  );
  assert.match((await failure(`${url}&sslmode=verify-full`)).message, /SSL/);
  {
    await using admin = await server.open(url);
    await admin.use((session) => session.script("CREATE ROLE guest LOGIN PASSWORD 'guest'"));
  }
  const guest = url.replace(/\/\/[^@]+@/, "//guest:guest@");
  assert.equal(await codeOf(guest), "database-forbidden");
  {
    await using admin = await server.open(url);
    for (const statement of [
      "ALTER ROLE guest SET default_transaction_read_only = on",
      "ALTER SYSTEM SET synchronous_commit = off",
      "SELECT pg_reload_conf()",
    ])
      await admin.use((session) => session.query(statement));
  }
  const standby = await failure(guest);
  assert.deepEqual([standby.code, standby.retryable], ["database-unfit", true]);

  // The server's own default is not what the hub's sessions acknowledge by.
  const told: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void told.push(message) };
  const postgres = await openPostgres({ clock: systemClock, log }, parsePostgresUrl(url), {
    application: "test",
  });
  const [row] = await postgres.use((session) => session.query("SHOW synchronous_commit"));
  assert.equal(row?.["synchronous_commit"], "on");
  assert.match(told.join(), /acknowledge before its disk has it/);
  await postgres.close();
  await server.stop();
  await server.start(["fsync=off"]);
  assert.match((await failure(url)).message, /fsync = off/);
  await server.stop();
  await server.start();
});

test("enrolled cells and tokens are shared by the processes of one hub, and by no other hub", async () => {
  const address = parsePostgresUrl(await server.freshUrl());
  const deps = { clock: systemClock, log: silentLog };
  let changes = 0;
  const open = (pin: string, name = "hub") =>
    openPostgresFleet(deps, { address, hub: { name, pin }, onChange: () => changes++ });
  const [one, two] = await Promise.all([open("pin"), open("pin")]);
  try {
    await assert.rejects(open("other"), { code: "hub-mismatch" });
    await assert.rejects(open("pin", "hub-2"), { code: "hub-mismatch" });

    const pins = await Promise.all([
      one.registry.claim("shop.skerry", "k1"),
      two.registry.claim("shop.skerry", "k2"),
    ]);
    assert.equal(new Set(pins).size, 1);
    assert.equal(await two.registry.find("shop.skerry"), pins[0]);
    assert.equal(one.registry.cellOf("shop.skerry"), undefined);
    await one.registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
    assert.equal(one.registry.cellOf("shop.skerry"), "shop");
    await waitFor(() => two.registry.cellOf("shop.skerry") === "shop", {
      what: "word of it",
      timeoutMs,
    });
    assert.ok(changes >= 2);

    const token = { id: "abc", secretHash: "00", expiresAtMs: Date.now() + 60_000, name: "shop" };
    await one.tokens.put(token);
    assert.deepEqual(await two.tokens.get("abc"), token);
    assert.equal(await two.tokens.get("abd"), undefined);
    const users = await Promise.all([
      one.tokens.takeOnce("abc", "k1"),
      two.tokens.takeOnce("abc", "k2"),
    ]);
    assert.equal(users[0], users[1]);
  } finally {
    await one.close();
    await two.close();
  }
});

test("a hub moves from SQLite into PostgreSQL: cut short it goes on, and nothing is missing or doubled", async () => {
  const url = await server.freshUrl();
  const dataDir = join(dir, "sqlite");
  const nowMs = () => Date.now();
  const { pin } = await createAuthority(
    { random: systemRandom, nowMs },
    { folder: join(dataDir, "identity"), trustDomain: "hub.skerry" },
  );
  writeHubRecord(dataDir, { name: "hub", host: "127.0.65.12", port: 0 });
  const registry = openCellRegistry(dataDir, { nowMs, onChange: () => {} });
  await registry.claim("shop.skerry", "shop-key");
  await registry.enrolled({ name: "shop", trustDomain: "shop.skerry" });
  const tokens = createFolderTokenStore({ nowMs }, join(dataDir, "tokens"));
  const { id } = await createJoinToken(
    { random: systemRandom, store: tokens, nowMs },
    { cell: "hub", pin },
  );
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
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
  const hub = { name: "hub", pin };
  const fleet = () =>
    openPostgresFleet(deps, { address: parsePostgresUrl(url), hub, onChange: () => {} });
  await assert.rejects(fleet(), { code: "migration-unfinished" });

  const { kept, place, before, ...counted } = await run(new AbortController().signal);
  assert.deepEqual(counted, { cells: 2, streams: 2, documents: 18, entries: 12_250 });
  assert.ok(before > 0 && before < 12_250, `${before} by the first run`);
  const [keptDocuments = "", keptStreams = ""] = kept;
  for (const [path, name] of [
    [keptDocuments, "documents.db"],
    [keptStreams, "hub.db"],
  ] as const)
    assert.ok(existsSync(path) && !existsSync(join(dataDir, name)));
  assert.equal(place, `127.0.65.1:${server.port}/${new URL(url).pathname.slice(1)}`);
  assert.equal(readHubRecord(dataDir)?.postgres, withoutPassword(url));

  const moved = await fleet();
  assert.equal(moved.registry.cellOf("shop.skerry"), "shop");
  assert.equal(await moved.registry.find("shop.skerry"), "shop-key");
  assert.equal((await moved.tokens.get(id))?.id, id);
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
