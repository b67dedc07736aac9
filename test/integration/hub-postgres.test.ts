/** Hub processes on one PostgreSQL: started by the command, one killed while a cell sends. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { FleetStatus } from "../../src/api/index.ts";
import { connectHub, createHubSync, encodeBatch, openStreamStore } from "../../src/data/index.ts";
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  parseJoinToken,
  spiffeId,
  type FolderAuthority,
} from "../../src/identity/index.ts";
import { openFleetLayout } from "../../src/hub/fleet-layout.ts";
import { openPostgresFleet } from "../../src/hub/fleet-postgres.ts";
import { openPostgresLedger } from "../../src/ledger/index.ts";
import { explain, SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createGate, type Cleared } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  openPostgres,
  parsePostgresUrl,
  preparePostgresLayout,
} from "../../src/runtime/postgres/index.ts";
import { createRouter, dial, enrol } from "../../src/transport/index.ts";
import { entry, range, telemetry } from "../support/data.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { failing, withFaults } from "../support/ledger-faults.ts";
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
): Promise<FolderAuthority> {
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
      { clock: systemClock, random: systemRandom, log: silentLog },
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
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
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

/** As an earlier version made and filled it: one cell, one claim, a spent token and an open one. */
const earlierTables = `
CREATE SCHEMA skerry;
CREATE TABLE skerry.layout(part text PRIMARY KEY, version int NOT NULL);
CREATE TABLE skerry.hub(
  one boolean PRIMARY KEY DEFAULT true CHECK (one), name text NOT NULL, pin text NOT NULL);
CREATE TABLE skerry.enrolled(
  trust_domain text PRIMARY KEY, pin text NOT NULL, cell text, enrolled_at timestamptz);
CREATE TABLE skerry.token(
  id text PRIMARY KEY, secret_hash text NOT NULL, expires_at timestamptz NOT NULL, name text,
  server boolean NOT NULL, used_by text);
CREATE TABLE skerry.migration(source text PRIMARY KEY, done boolean NOT NULL DEFAULT false);
INSERT INTO skerry.layout VALUES ('fleet', 2);
INSERT INTO skerry.hub(name, pin) VALUES ('hub', 'pin');
INSERT INTO skerry.enrolled VALUES
  ('shop.skerry', 'k1', 'shop', '2026-01-01T00:00:00Z'), ('depot.skerry', 'k2', NULL, NULL);
INSERT INTO skerry.token VALUES
  ('spent', '00', now() + interval '1 h', NULL, false, 'key-a'),
  ('open', '00', now() + interval '1 h', 'shop', true, NULL);
`;

test("the tables of an earlier version move into the ledger once, and whoever still uses them is told", async () => {
  const url = await server.freshUrl();
  const address = parsePostgresUrl(url);
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
  await using database = await server.open(url);
  await database.use((session) => session.script(earlierTables));

  // Another hub's process takes nothing from who runs there.
  await assert.rejects(
    openPostgresFleet(deps, { address, hub: { name: "hub", pin: "other" }, onChange: () => {} }),
    { code: "hub-mismatch" },
  );
  // Cut short: the tables are as they were, and an earlier version goes on with them.
  const cut = await openPostgresLedger(deps, { address });
  await assert.rejects(
    openFleetLayout(database, {
      hub: { name: "hub", pin: "pin" },
      ledger: withFaults(cut, { transact: failing({ state: "lose-answer" }) }),
    }),
    { code: "ledger-unavailable" },
  );
  assert.equal((await cut.list("cells/")).items.length, 2);
  await cut.close();
  await database.use((session) =>
    session.script("UPDATE skerry.token SET used_by = 'key-b' WHERE id = 'open'"),
  );

  const open = () =>
    openPostgresFleet(deps, { address, hub: { name: "hub", pin: "pin" }, onChange: () => {} });
  const [one, two] = await Promise.all([open(), open()]);
  try {
    for (const { registry, tokens } of [one, two]) {
      assert.deepEqual(registry.cells(), [
        { trustDomain: "shop.skerry", cell: "shop", enrolledAt: "2026-01-01T00:00:00.000Z" },
      ]);
      assert.equal(await registry.claim("depot.skerry", "k3"), "k2");
      assert.equal(await tokens.takeOnce("spent", "key-c"), "key-a");
      assert.equal(await tokens.takeOnce("open", "key-c"), "key-b");
      assert.deepEqual(
        { ...(await tokens.get("open")), expiresAtMs: 0 },
        { id: "open", secretHash: "00", expiresAtMs: 0, name: "shop", server: true },
      );
    }
    await assert.rejects(
      database.use((session) =>
        session.query("INSERT INTO skerry.enrolled(trust_domain, pin) VALUES ('new.skerry', 'k')"),
      ),
      { code: "database-failed", message: /skerry.enrolled/ },
    );
    await assert.rejects(
      preparePostgresLayout(database, { part: "fleet", steps: ["", ""] }),
      { code: "store-newer" },
      "an earlier version does not start",
    );
  } finally {
    await one.close();
    await two.close();
  }
});

test("who enrols with an earlier version while the tables move is refused, and not forgotten", async () => {
  const url = await server.freshUrl();
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
  await using database = await server.open(url);
  await using earlier = await server.open(url);
  await database.use((session) => session.script(earlierTables));
  const ledger = await openPostgresLedger(deps, { address: parsePostgresUrl(url) });
  let enrolling: Promise<unknown> | undefined;
  const waits = async () =>
    (
      await earlier.use((session) =>
        session.query(
          `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO skerry.enrolled%'`,
        ),
      )
    ).length > 0;
  try {
    await openFleetLayout(database, {
      hub: { name: "hub", pin: "pin" },
      ledger: {
        ...ledger,
        // What stood there is read by now.
        async transact(...request) {
          let isOver = false;
          enrolling ??= earlier
            .use((session) =>
              session.query("INSERT INTO skerry.enrolled(trust_domain, pin) VALUES ('late', 'k')"),
            )
            .finally(() => {
              isOver = true;
            });
          enrolling.catch(() => {});
          await waitFor(async () => isOver || (await waits()), { what: "it to wait", timeoutMs });
          return await ledger.transact(...request);
        },
      },
    });
    await assert.rejects(enrolling ?? Promise.resolve(), { code: "database-failed" });
  } finally {
    await ledger.close();
  }
});
