/** Rule F piece by piece: the node's renewals, the keeper's lease, and writes that depend on others. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { leaseKind, nodeLeaseNamespace, podKind, type Lease } from "../../src/api/index.ts";
import { createLeaseBook } from "../../src/controllers/node-lifecycle/leases.ts";
import { createLease, type LeaseTerms } from "../../src/keeper/lease.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createSingleStarts, startNodeLease, type LeaseWrite } from "../../src/workloads/index.ts";
import { temporaryFolder } from "../support/ledger.ts";
import { done, openLedgerResources, pod, refusal } from "../support/resources.ts";

test("K11, K12: each container runs for its own TTL from the sending; a late renewal prolongs nobody; a start has its own renewal", async () => {
  await using folder = await temporaryFolder();
  const clock = createSimulatedClock();
  const running = new Map<string, LeaseTerms>();
  const stopped: string[] = [];
  const lease = createLease(
    {
      clock,
      bootTimeMs: () => clock.monotonicMs(),
      log: silentLog,
      onLook(isOver) {
        for (const [id, terms] of running) {
          if (!isOver(terms)) continue;
          running.delete(id);
          stopped.push(`${id} ${clock.monotonicMs()}`);
        }
        return [...running.values()].map(({ ttlMs }) => ttlMs);
      },
    },
    { path: join(folder.path, "lease"), bootId: "b" },
  );
  assert.equal(lease.held(), false);
  await clock.advance(1000);
  // Sent at 400, answered at 1000.
  lease.renew({ sentBootMs: 400, ttlMs: 30_000 });
  running.set("brief", { ttlMs: 5000 }).set("usual", {});
  lease.watch();
  await clock.advance(9000);
  assert.deepEqual(stopped, ["brief 5400"]);
  lease.renew({ sentBootMs: 9000, ttlMs: 30_000 });
  lease.renew({ sentBootMs: 8000, ttlMs: 90_000 });
  assert.equal(lease.untilBootMs, 39_000, "an older one changes nothing");
  assert.equal(lease.held({ ttlMs: 5000 }), true);
  assert.equal(lease.held({ ttlMs: 5000, sentBootMs: 400 }), false);
  clock.stepWall(-1e9);
  await clock.advance(28_500);
  running.set("late", { ttlMs: 5000 });
  lease.renew({ sentBootMs: 38_400, ttlMs: 30_000 });
  assert.deepEqual(stopped, ["brief 5400", "late 38500"]);
  assert.ok(running.has("usual"));
  await clock.advance(31_000);
  assert.equal(stopped.at(-1), "usual 68400");
  assert.equal(clock.pending, 0, "nobody left to watch over");
  await lease.close();
});

function openNodeLease(write: () => Promise<LeaseWrite>, ttlsMs: readonly number[] = []) {
  const clock = createSimulatedClock();
  const renewals: { sentBootMs: number; ttlMs: number }[] = [];
  const patches: { metadata: unknown; spec: { renewTime: string } }[] = [];
  const lease = startNodeLease(
    {
      objects: {
        create: async () => await write(),
        async patch(_name, body) {
          patches.push(body as (typeof patches)[number]);
          return await write();
        },
      },
      keeper: { isExact: true, renewLease: async (renewal) => void renewals.push(renewal) },
      clock,
      bootTimeMs: () => clock.monotonicMs(),
      log: silentLog,
      ttlsMs: () => ttlsMs,
    },
    { node: "n1" },
  );
  return { clock, lease, renewals, patches };
}

test("W15: a renewal counts from its sending, and only when it made a new version; a clock that stands still makes one too", async () => {
  let version = 1;
  let answer: LeaseWrite | undefined;
  let delayMs = 0;
  const opened = openNodeLease(async () => {
    if (delayMs > 0) await opened.clock.sleep(delayMs);
    return answer ?? { state: "done", version: String(version++) };
  });
  const { clock, lease, renewals, patches } = opened;
  await clock.advance(1);
  assert.deepEqual(renewals, [{ sentBootMs: 0, ttlMs: 30_000 }]);
  delayMs = 4000;
  await clock.advance(14_100);
  assert.equal(renewals.at(-1)?.sentBootMs, 10_000, "not when it was answered");
  for (const bad of [
    { state: "failed" },
    { state: "done", version: String(version - 1) },
  ] as const) {
    answer = bad;
    await clock.advance(30_000);
    assert.equal(renewals.length, 2, JSON.stringify(bad));
    assert.equal(await Promise.race([lease.renewedWithin(100), clock.advance(10_000)]), undefined);
  }
  delayMs = 6000;
  answer = undefined;
  await clock.advance(60_000);
  assert.equal(renewals.length, 2, "an answer that takes longer than 5 s counts for nothing");
  delayMs = 0;
  await clock.advance(7000);
  assert.ok(renewals.length > 2);
  clock.stepWall(-1000);
  const texts = patches.map(({ spec }) => spec.renewTime);
  assert.ok(texts.every((text, index) => text !== texts[index - 1]));
  lease.stop();
});

test("W15: renewals come three times in the shortest TTL", async () => {
  let version = 1;
  const { clock, lease, renewals } = openNodeLease(
    async () => ({ state: "done", version: String(version++) }),
    [6000, 20_000],
  );
  await clock.advance(12_100);
  assert.deepEqual(
    renewals.map(({ sentBootMs }) => sentBootMs),
    [0, 2000, 4000, 6000, 8000, 10_000, 12_000],
  );
  lease.stop();
});

test("W16: what the ledger says has ended, goes or is another pod is not started, however the mirror sees it", async () => {
  await using fixture = await openLedgerResources();
  const { resources } = fixture;
  const made = done(
    await resources.create(
      podKind,
      pod("one", { nodeName: "n1", terminationGracePeriodSeconds: 5 }),
    ),
  );
  let sentBootMs: number | undefined = 7;
  const starts = createSingleStarts({
    lease: { renewedWithin: async () => sentBootMs },
    livePod: () => resources.get(podKind, { namespace: "default", name: "one" }),
  });
  const { signal } = new AbortController();
  const admit = async () => await starts.admit(made, { signal });
  assert.deepEqual(await admit(), { ok: true, sentBootMs: 7 });
  sentBootMs = undefined;
  assert.equal(((await admit()) as { reason?: string }).reason, "LeaseExpired");
  sentBootMs = 8;
  const status = { phase: "Failed" as const, message: "it runs there no more" };
  done(await resources.update(podKind, { ...made, status }, { subresource: "status" }));
  const ended = await admit();
  assert.ok(!ended.ok && ended.reason === "PodEnded" && /no more/.test(ended.message));
  done(await resources.delete(podKind, { namespace: "default", name: "one" }));
  assert.equal(((await admit()) as { reason?: string }).reason, "PodGone");
});

test("R16, C19: a pod is ended only while its node's Lease stands as it was judged", async () => {
  await using fixture = await openLedgerResources();
  const { resources } = fixture;
  const made = done(await resources.create(podKind, pod("one", { nodeName: "n1" })));
  const key = { namespace: nodeLeaseNamespace, name: "n1" };
  const end = (resourceVersion: string | undefined) =>
    resources.update(
      podKind,
      { ...made, status: { phase: "Failed" } },
      { subresource: "status", onlyWhile: [{ kind: leaseKind, key, resourceVersion }] },
    );
  const metadata = { name: "n1", namespace: nodeLeaseNamespace };
  const first = done(
    await resources.create(leaseKind, {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata,
    }),
  );
  assert.equal(refusal(await end(undefined)).reason, "conflict", "there is one by now");
  const renewed = done(
    await resources.update(leaseKind, { ...first, spec: { holderIdentity: "n1" } }),
  );
  const refused = refusal(await end(first.metadata.resourceVersion));
  assert.equal(refused.reason, "conflict", "renewed, though the leader had not seen it");
  assert.match(refused.message, /leases.*n1/);
  done(await end(renewed.metadata.resourceVersion));
});

test("C19: a new leader counts from its own beginning, and from each renewal that it sees", async () => {
  const clock = createSimulatedClock();
  const lease = (resourceVersion: string, exact = true): Lease => ({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      name: "n1",
      resourceVersion,
      ...(exact ? { annotations: { "skerry.dev/pod-leases": "exact" } } : {}),
    },
  });
  await clock.advance(100_000);
  const book = createLeaseBook(() => clock.monotonicMs());
  assert.deepEqual(book.of("n1", lease("5")), { ageMs: 0, version: "5", isExact: true });
  await clock.advance(9000);
  assert.equal(book.of("n1", lease("5")).ageMs, 9000);
  book.seen("n1", lease("6"));
  await clock.advance(1000);
  assert.equal(book.of("n1", lease("6")).ageMs, 1000);
  assert.equal(book.of("n1", lease("6", false)).isExact, false);
  assert.equal(book.of("n2", undefined).isExact, true);
});
