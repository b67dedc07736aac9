/** Leases, elections and retention in virtual time. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { LeaseId, Ledger, Revision } from "../../src/ledger/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { unavailableError, withFaults } from "../support/ledger-faults.ts";
import { bytes, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { createCampaigns } from "../../src/ledger/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createStallingClock } from "../support/stalling-clock.ts";
import { waitFor } from "../support/wait.ts";

async function put(ledger: Ledger, key: string, lease?: LeaseId): Promise<Revision> {
  const outcome = await ledger.transact(
    [],
    [{ type: "put", key, value: bytes("1"), ...(lease && { lease }) }],
  );
  if (outcome.state === "done") return outcome.revision;
  assert.fail(`the put was ${outcome.state}`);
}

const exists = async (ledger: Ledger, key: string) =>
  (await ledger.get(key)).keyValue !== undefined;

const isCode = (code: string) => (error: unknown) =>
  error instanceof SkerryError && error.code === code;

test("L9: a lease ends at its TTL and not before", async () => {
  await using folder = await temporaryFolder();
  const clock = createSimulatedClock();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock });
  const { lease, ttlMs } = await ledger.grant(2000);
  assert.equal(ttlMs, 2000);
  await put(ledger, "a", lease);
  await clock.advance(1999);
  assert.ok(await exists(ledger, "a"));
  await ledger.renew(lease);
  await clock.advance(1999);
  assert.ok(await exists(ledger, "a"));
  await clock.advance(1);
  await assert.rejects(ledger.renew(lease), isCode("lease-not-found"));
  await assert.rejects(put(ledger, "b", lease), isCode("lease-not-found"));
  await waitFor(async () => !(await exists(ledger, "a")), { what: "the key to go" });
});

test("L9: shorter TTLs are raised to the smallest, and told", async () => {
  await using folder = await temporaryFolder();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), ttlMsMin: 700 });
  assert.equal((await ledger.grant(1)).ttlMs, 700);
  assert.equal((await ledger.grant(701.2)).ttlMs, 702);
});

test("L9: a stall of the server ends no lease that could not be renewed meanwhile", async () => {
  await using folder = await temporaryFolder();
  const clock = createStallingClock();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock });
  const { lease } = await ledger.grant(2000);
  await put(ledger, "a", lease);
  await clock.advance(1000);
  clock.stall(60_000);
  await clock.advance(1000);
  assert.ok(await exists(ledger, "a"));
  assert.equal((await ledger.renew(lease)).ttlMs, 2000);
  clock.stall(60_000);
  await clock.advance(2000);
  clock.stall(60_000);
  await clock.advance(500);
  await waitFor(async () => !(await exists(ledger, "a")), { what: "the key to go" });
});

test("L9: a restart gives every lease a full TTL", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const clock = createSimulatedClock();
  const first = openTestLedger({ path, clock });
  const { lease } = await first.grant(5000);
  await put(first, "a", lease);
  await clock.advance(4999);
  await first.close();
  assert.equal(clock.pending, 0, "no timer outlives the ledger");
  await using again = openTestLedger({ path, clock });
  await clock.advance(4999);
  assert.ok(await exists(again, "a"));
  await clock.advance(1);
  await waitFor(async () => !(await exists(again, "a")), { what: "the key to go" });
});

test("L9: keys of a lease that expired on a full disk go when there is space", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const clock = createSimulatedClock();
  await using ledger = openTestLedger({ path, clock, pagesMax: 40 });
  const { lease } = await ledger.grant(1000);
  await put(ledger, "a", lease);
  let revision = 0 as Revision;
  await assert.rejects(async () => {
    for (let size = 16_384; ; size = Math.max(1, size >> 1)) {
      try {
        for (;;) {
          const value = new Uint8Array(size);
          const outcome = await ledger.transact([], [{ type: "put", key: "big", value }]);
          if (outcome.state === "done") revision = outcome.revision;
        }
      } catch (error) {
        if (size === 1) throw error;
      }
    }
  }, isCode("disk-full"));
  await clock.advance(1000);
  await assert.rejects(ledger.renew(lease), isCode("lease-not-found"));
  await ledger.compact(revision);
  await waitFor(
    async () => {
      await clock.advance(1000);
      return !(await exists(ledger, "a"));
    },
    { what: "the key to go" },
  );
});

test("L10: a leader that cannot renew loses before its lease ends, counted from the last send", async () => {
  await using folder = await temporaryFolder();
  const clock = createSimulatedClock();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock });
  let isCut = false;
  const faulty = withFaults(ledger, { renew: () => (isCut ? unavailableError() : undefined) });
  const campaign = createCampaigns({ clock, random: seededRandom(1), log: silentLog }, faulty);
  const leader = await campaign("boss", { id: "a", ttlMs: 3000 });
  const follower = ledger.campaign("boss", { id: "b", ttlMs: 3000 });
  for (let i = 0; i < 20; i++) await clock.advance(1000);
  assert.equal(leader.lost.aborted, false);

  isCut = true;
  await clock.advance(1500);
  assert.equal(leader.lost.aborted, false, "one missed renewal is not the end");
  await clock.advance(1499);
  assert.equal(leader.lost.aborted, true);
  assert.ok(await exists(ledger, (await ledger.list("elections/")).items[0]?.key ?? ""));
  const next = await waitFor(
    async () => {
      await clock.advance(500);
      return await Promise.race([follower, undefined]);
    },
    { what: "the next leader" },
  );
  assert.ok(next.fence > leader.fence);
  await next.resign();
});

test("L8: history is forgotten by itself, by age and number, and its rows go", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const clock = createSimulatedClock();
  const retention = { revisionsMin: 100, ageMs: 60_000, revisionsMax: 1000 };
  const ledger = openTestLedger({ path, clock, retention });
  const write = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => put(ledger, `k/${i % 7}`)));
  const compacted = async () => (await ledger.status()).compactedRevision;

  await write(500);
  await clock.advance(50_000);
  assert.equal(await compacted(), 0, "young history stays");
  await clock.advance(40_000);
  await waitFor(async () => (await compacted()) === 400, { what: "old history to go" });

  await write(2000);
  await clock.advance(10_000);
  await waitFor(async () => (await compacted()) === 1500, { what: "too much history to go" });
  await waitFor(() => rows(path) === 1000 + 7, { what: "its rows to go" });
  await ledger.close();
  assert.equal(clock.pending, 0);
});

function rows(path: string): number {
  const db = openDatabase(path, { readOnly: true });
  try {
    return Number(db.prepare("SELECT count(*) AS rows FROM history").get()?.["rows"]);
  } finally {
    db.close();
  }
}
