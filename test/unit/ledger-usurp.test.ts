/** Elections whose dead leaders are not waited for, in virtual time. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { createCampaigns, type Campaign, type Ledger } from "../../src/ledger/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { unavailableError, withFaults } from "../support/ledger-faults.ts";
import { bytes, openTestLedger, temporaryFolder } from "../support/ledger.ts";

const ttlMs = 10_000;

/** What membership says, as the tests set it. */
function createVerdicts() {
  const dead = new Set<string>();
  const listeners = new Set<() => void>();
  return {
    say(holder: string, isDead: boolean) {
      if (isDead) dead.add(holder);
      else dead.delete(holder);
      for (const listener of listeners) listener();
    },
    get listeners() {
      return listeners.size;
    },
    presumedDead: {
      is: (holder: string) => dead.has(holder),
      onChange(listener: () => void) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
  };
}

/** A campaign that may still be going on. */
function follow(campaigning: Promise<Campaign>) {
  let won: Campaign | undefined;
  campaigning.then(
    (campaign) => (won = campaign),
    () => {},
  );
  const waits = () => won === undefined;
  return {
    waits,
    async elected(clock: SimulatedClock): Promise<Campaign> {
      const limitMs = clock.monotonicMs() + 20_000;
      while (waits() && clock.monotonicMs() < limitMs) await clock.advance(10);
      assert.ok(won, "elected within 20 virtual seconds");
      return won;
    },
  };
}

async function openElection() {
  const folder = await temporaryFolder();
  const clock = createSimulatedClock();
  const random = seededRandom(1);
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock, random });
  return {
    clock,
    ledger,
    /** Another process on the same ledger. */
    campaigns: (over: Ledger = ledger) => createCampaigns({ clock, random, log: silentLog }, over),
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

test("L10: a holder that is presumed dead is usurped at once, and its fenced writes are refused", async () => {
  await using election = await openElection();
  const { clock, ledger } = election;
  const verdicts = createVerdicts();
  const old = await election.campaigns()("controllers", { id: "n1", ttlMs });
  const next = follow(
    election.campaigns()("controllers", { id: "n2", ttlMs, presumedDead: verdicts.presumedDead }),
  );
  await clock.advance(5000);
  assert.ok(next.waits(), "it waits while the holder lives");
  const saidMs = clock.monotonicMs();
  verdicts.say("n1", true);
  const leader = await next.elected(clock);
  assert.ok(clock.monotonicMs() - saidMs < 500, "it does not wait for the lease");
  assert.ok(leader.fence > old.fence);
  await clock.advance(10);
  assert.equal(old.lost.aborted, true, "the old one hears of it before its next renewal");
  const write = (campaign: Campaign) =>
    ledger.transact(
      [{ key: campaign.key, modRevision: campaign.fence as never }],
      [{ type: "put", key: "a", value: bytes(String(campaign.fence)) }],
    );
  assert.equal((await write(old)).state, "refused");
  assert.equal((await write(leader)).state, "done");
  assert.equal(verdicts.listeners, 0);
  await leader.resign();
});

test("L10: without a verdict the lease decides, and a holder that came back is spared", async () => {
  await using election = await openElection();
  const { clock } = election;
  const verdicts = createVerdicts();
  const dead = { presumedDead: verdicts.presumedDead };
  const campaigns = election.campaigns();
  const stop = new AbortController();
  const first = await election.campaigns()("boss", { id: "n1", ttlMs });
  const other = follow(campaigns("boss", { id: "n2", ttlMs, ...dead }));
  verdicts.say("n1", true);
  const usurping = await other.elected(clock);
  assert.equal(first.lost.aborted, true);
  verdicts.say("n1", false);
  // n1 is back and leads; n2 finds it dead again a moment later.
  const again = follow(election.campaigns()("boss", { id: "n1", ttlMs, signal: stop.signal }));
  await usurping.resign();
  const returned = await again.elected(clock);
  const third = follow(campaigns("boss", { id: "n2", ttlMs, ...dead }));
  await clock.advance(100);
  verdicts.say("n1", true);
  await clock.advance(5 * ttlMs);
  assert.ok(third.waits(), "usurped twice within six leases");
  assert.equal(returned.lost.aborted, false);
  await clock.advance(ttlMs);
  // Not by itself: somebody must say so once more.
  verdicts.say("n1", true);
  const last = await third.elected(clock);
  assert.ok(last.fence > returned.fence);
  await last.resign();
});

test("L10: a ledger in trouble costs a candidate neither its place nor its turn", async () => {
  await using election = await openElection();
  const { clock, ledger } = election;
  const verdicts = createVerdicts();
  let broken = false;
  const faulty = withFaults(ledger, {
    read: () => (broken ? unavailableError() : undefined),
    transact: () => (broken ? { state: "lose-request" } : undefined),
  });
  const old = await election.campaigns()("boss", { id: "n1", ttlMs });
  const next = follow(
    election.campaigns(faulty)("boss", { id: "n2", ttlMs, presumedDead: verdicts.presumedDead }),
  );
  const keys = async () => (await ledger.list("elections/boss/")).items.map(({ key }) => key);
  while ((await keys()).length < 2) await clock.advance(10);
  const before = await keys();
  broken = true;
  verdicts.say("n1", true);
  await clock.advance(3000);
  assert.equal(old.lost.aborted, false);
  broken = false;
  const leader = await next.elected(clock);
  assert.deepEqual(await keys(), [leader.key]);
  assert.ok(before.includes(leader.key), "it stood with the lease it had");
  await leader.resign();
});

test("L10: who is told to stop waits a second at most for a ledger that does not answer", async () => {
  await using election = await openElection();
  const { clock, ledger } = election;
  const told = new AbortController();
  const holder = await election.campaigns({
    ...ledger,
    // As without a quorum: its answer comes after all of its time.
    revoke: async (lease) => {
      await clock.sleep(5000);
      await ledger.revoke(lease);
    },
  })("controllers", { id: "n1", ttlMs, signal: told.signal });
  const stopping = new AbortController();
  const stuck = election.campaigns({ ...ledger, grant: () => new Promise(() => {}) });
  const outcomes: string[] = [];
  const end = (name: string) => (error?: unknown) =>
    outcomes.push(`${name} ${error instanceof Error ? error.name : "done"}`);
  stuck("controllers", { id: "n2", ttlMs, signal: stopping.signal }).then(
    () => end("candidate")(),
    end("candidate"),
  );
  stopping.abort(new DOMException("stopping", "AbortError"));
  told.abort(new DOMException("stopping", "AbortError"));
  holder.resign().then(() => end("holder")(), end("holder"));
  await clock.advance(900);
  assert.deepEqual(outcomes, []);
  await clock.advance(200);
  assert.deepEqual(outcomes.toSorted(), ["candidate AbortError", "holder AbortError"]);
  // What was on its way is done all the same.
  const isGone = async () => (await ledger.list("elections/")).items.length === 0;
  assert.equal(await isGone(), false);
  // Its lease ends later, 10 s after the last renewal.
  while (!(await isGone()) && clock.monotonicMs() < 8000) await clock.advance(100);
  assert.equal(await isGone(), true);
});
