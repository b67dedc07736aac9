/** A query at a hub process on PostgreSQL, along the index that a cell's Collection declares. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { runAudit } from "../../src/data/audit/audit.ts";
import { createAuditEngine } from "../../src/data/audit/index.ts";
import type { AuditEvent } from "../../src/data/audit/report.ts";
import {
  connectAudit,
  connectDocumentHub,
  createDocumentsSync,
  encodeLeaving,
  encodeLeavingSnapshot,
  hubName,
  openDocumentStore,
  type CollectionDeclaration,
} from "../../src/data/index.ts";
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  parseJoinToken,
  spiffeId,
} from "../../src/identity/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createNarrowing,
  createOperationGate,
  createOperationRecheck,
  type Cleared,
} from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createRouter, dial, enrol, type Link } from "../../src/transport/index.ts";
import { range } from "../support/data.ts";
import { put, write } from "../support/documents.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { makeTempDir, skerry, skerryJson, takeDown, type HubInfo } from "../support/site.ts";
import { testDeps } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 60_000;
const host = "127.0.66.10";
const dir = makeTempDir("hub-postgres-queries");
const hubDir = join(dir, "hub");
let server: TestPostgres;
before(async () => {
  server = await startPostgres({ host: "127.0.66.1" });
});
after(async () => {
  await takeDown(dir, [hubDir]);
  await server[Symbol.asyncDispose]();
});

const orders: CollectionDeclaration = {
  name: "orders",
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: [],
  egress: { policy: { drop: ["hidden"] }, revision: 1 },
  indexes: ["/total", "/status", "/hidden"],
};

test("Q1, P6: the hub process answers along the indexes of what was let out, and says so", async () => {
  const url = await server.freshUrl();
  const hub = await skerryJson<HubInfo>(
    ["hub", "--data", hubDir, "--host", host, "--port", "0", "--detach"],
    { env: { SKERRY_HUB_POSTGRES: url }, timeoutMs },
  );
  const { token } = await skerryJson<{ token: string }>(
    ["token", "create", "--data", hubDir, "--cell", "shop"],
    { timeoutMs },
  );
  const [address, port] = hub.address.split(":");
  const place = { host: address ?? host, port: Number(port) };
  const authority = await createAuthority(
    { random: systemRandom, nowMs: () => Date.now() },
    { folder: join(dir, "shop"), trustDomain: "shop.skerry" },
  );
  const { trustDomain, pin } = parseJoinToken(token);
  acceptCellAnswer(
    authority,
    await enrol(
      { clock: systemClock, nowMs: () => Date.now() },
      { ...place, trustDomain, pin, request: await cellRequest(authority, { token }) },
    ),
  );
  const hubTrust = authority.hub?.trust;
  assert.ok(hubTrust);
  const own = await authority.issueCredentials(spiffeId("shop.skerry", "node", "n1"));
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
  const store = openDocumentStore(deps, { path: join(dir, "documents.db"), node: "n1" });
  await store.declare([orders]);
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });
  assert.ok(orders.egress);
  gate.setPolicies({ orders: orders.egress });
  const sync = createDocumentsSync<Cleared<Uint8Array>>(
    {
      ...deps,
      store,
      egress: {
        async clear({ collections, ...query }) {
          const piece = store.readLeaving(query);
          return piece && gate.clear(piece, collections);
        },
        async clearSnapshot(query) {
          const piece = store.readLeavingSnapshot(query);
          return piece && gate.clearSnapshot(piece, query.collection);
        },
      },
      lets: createOperationRecheck().lets,
    },
    { node: "n1" },
  );
  sync.declare([orders]);
  const dialled = dial(testDeps, {
    address: place,
    expect: hubTrust.trustDomain,
    credentials: () => own,
    trusts: () => [authority.trust, hubTrust],
    router: createRouter(),
    backoff: { initialMs: 50, maxMs: 500 },
  });
  const { promise: up, resolve: isUp } = Promise.withResolvers<Link>();
  dialled.on("up", (link) => {
    sync.attach(connectDocumentHub<Cleared<Uint8Array>>(link), link.closed);
    isUp(link);
  });
  const ownSide = createAuditEngine(
    { clock: systemClock, narrowing: createNarrowing() },
    { documentsPath: join(dir, "documents.db") },
  );
  const total = 3000;
  const ask = async (...flags: string[]) => {
    const args = ["data", "query", "orders", "--data", hubDir, "--json", "--explain", ...flags];
    const { code, stdout, stderr } = await skerry(args, { timeoutMs });
    assert.equal(code, 0, stderr);
    const looked = Number(/; (\d+) looked at/.exec(stderr)?.[1]);
    const rows = stdout.split("\n").filter(Boolean);
    return { rows: rows.map((row) => JSON.parse(row) as { id: string }), looked, stderr };
  };
  try {
    for (let first = 0; first < total; first += 500)
      await write(
        store,
        ...range(first, first + 499).map((n) => {
          const body = { total: (n * 7919) % total, status: n % 5 ? "open" : "paid", hidden: n };
          return put(`o${n}`, body, "orders");
        }),
      );
    await waitFor(async () => (await sync.backlog()) === 0, {
      what: "all documents at the hub",
      timeoutMs,
    });
    await waitFor(async () => (await ask("--sort=-total", "--limit", "5")).looked < 20, {
      what: "the index to be whole",
      timeoutMs,
    });
    const few = await ask("--sort=-total", "--limit", "5", "--fields", "total");
    assert.deepEqual(
      few.rows.map((row) => (row as unknown as { body: { total: number } }).body.total),
      [2999, 2998, 2997, 2996, 2995],
    );
    assert.match(few.stderr, /in the order of the index on \/total/);
    const one = await ask("--where", 'total = 17 and status = "open"');
    assert.match(one.stderr, /a range of the index on \/total, .*; 1 looked at/);
    // No name of a field that stays was told.
    const hidden = await ask("--where", "hidden = 3");
    assert.deepEqual([hidden.rows, hidden.looked], [[], total]);

    // What the cell compares with it is what stands in PostgreSQL.
    const link = await up;
    const audited = async () => {
      const told: AuditEvent[] = [];
      await runAudit(
        {
          own: { node: "n1", side: ownSide },
          partners: () => [{ name: hubName, side: connectAudit(link, "hub.audit") }],
          atHub: () => ({ policy: { drop: ["hidden"] } }),
          clock: systemClock,
        },
        { names: ["orders"] },
        { signal: new AbortController().signal, onEvent: (event) => void told.push(event) },
      );
      return told.flatMap((event) => (event.event === "compared" ? event : []));
    };
    const [equal] = await audited();
    assert.deepEqual([equal?.state, equal?.items], ["equal", total], JSON.stringify(equal));
    // As somebody with SQL might: of a version that keeps no indexes, too.
    await using database = await server.open(url);
    await database.use((session) =>
      session.query(
        `UPDATE skerry_documents.document SET body = jsonb_set(body::jsonb, '{total}', '-4')::text
         WHERE body::jsonb ->> 'total' = '17'`,
      ),
    );
    const [differs] = await audited();
    assert.equal(differs?.state, "different", JSON.stringify(differs));
    assert.match(JSON.stringify(differs?.differences), /o\d+.*total/);
    const changed = await ask("--where", "total < 0");
    assert.deepEqual(
      [changed.rows.length, changed.looked],
      [1, total],
      "no index is left to be wrong",
    );
  } finally {
    await dialled.close();
    ownSide.close();
    sync.stop();
    await store.close();
  }
});
