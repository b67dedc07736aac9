/** When a ledger in PostgreSQL ends leases (src/ledger/README.md, P4), on virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { LeaseId } from "../../src/ledger/index.ts";
import { createObserver, type LeaseRow } from "../../src/ledger/postgres/observer.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";

const stallMs = 1_500;
const row = (renewals: number, ttlMs = 2_000): LeaseRow => ({
  lease: "l" as LeaseId,
  ttlMs,
  renewals,
});

function observer() {
  const clock = createSimulatedClock();
  const observe = createObserver({ clock }, { stallMs });
  return {
    clock,
    /** One look that takes no time; tells whether the lease ran out. */
    look: (rows: readonly LeaseRow[]) => observe(rows, clock.monotonicMs()).length > 0,
    observe,
  };
}

test("P4: a lease runs out a TTL after its number of renewals was first seen, and not before", async () => {
  const { clock, look } = observer();
  for (const [renewals, lookedMs] of [
    [7, 2_000],
    [8, 2_000],
  ] as const) {
    assert.equal(look([row(renewals)]), false);
    for (let ms = 500; ms < lookedMs; ms += 500) {
      await clock.advance(500);
      assert.equal(look([row(renewals)]), false, `${ms} ms after renewal ${renewals}`);
    }
    await clock.advance(500);
    assert.equal(look([row(renewals)]), true);
  }
});

test("P4: what a restored PostgreSQL forgot of renewals counts as one", async () => {
  const { clock, look } = observer();
  look([row(7)]);
  await clock.advance(1_400);
  look([row(7)]);
  await clock.advance(600);
  assert.equal(look([row(6)]), false);
});

test("P4: a look that lasts proves nothing of the time after it was sent", async () => {
  const { clock, observe } = observer();
  for (const lookMs of [0, 950, 950]) {
    await clock.advance(lookMs);
    assert.deepEqual(observe([row(7)], clock.monotonicMs()), []);
  }
  const sentMs = clock.monotonicMs();
  await clock.advance(1_000);
  assert.deepEqual(observe([row(7)], sentMs), []);
});

test("P4: after an outage leases start anew, once until their next renewal", async () => {
  const { clock, look } = observer();
  look([row(7)]);
  await clock.advance(60_000);
  assert.equal(look([row(7)]), false, "its holder could not renew it either");
  await clock.advance(1_400);
  assert.equal(look([row(7)]), false);
  await clock.advance(60_000);
  assert.equal(look([row(7)]), true, "outages that never end do not keep a dead holder's lease");
  assert.equal(look([row(8)]), false);
  await clock.advance(60_000);
  assert.equal(look([row(8)]), false, "renewed, it starts anew once more");
});

test("P4: a lease of the same name that comes again is another one", async () => {
  const { clock, look } = observer();
  look([row(0)]);
  await clock.advance(1_000);
  assert.equal(look([]), false);
  await clock.advance(1_000);
  assert.equal(look([row(0)]), false);
});
