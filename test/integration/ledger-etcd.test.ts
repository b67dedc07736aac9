/** The etcd engine while members are killed, stopped, cut off, added, full and restored. */
import { strict as assert } from "node:assert";
import { after, test } from "node:test";
import type { Ledger, Revision } from "../../src/ledger/index.ts";
import { eventOfLine } from "../../src/ledger/etcd/index.ts";
import { memoryFolder, startEtcd } from "../support/etcd.ts";
import { startCuttingProxy } from "../support/etcd-proxy.ts";
import { recordHistory } from "../support/ledger-history.ts";
import { bytes, text } from "../support/ledger.ts";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import { waitFor } from "../support/wait.ts";

const subnet = "127.0.33";
const patientMs = 40_000;

const put = async (ledger: Ledger, key: string, value: string | Uint8Array) => {
  const outcome = await ledger.transact(
    [],
    [{ type: "put", key, value: typeof value === "string" ? bytes(value) : value }],
  );
  assert.equal(outcome.state, "done", outcome.state === "unknown" ? outcome.cause : undefined);
  return outcome.state === "done" ? outcome.revision : (0 as Revision);
};

const folder = memoryFolder();
const three = folder.then(({ path }) => startEtcd({ subnet, folder: `${path}/three`, members: 3 }));
three.catch(() => {});
after(async () => {
  await (await three)[Symbol.asyncDispose]();
  await (await folder)[Symbol.asyncDispose]();
});

test(
  "L1, L2: members killed in turn under load: linearizable, nothing acknowledged is lost, no outcome in doubt",
  { timeout: 90_000 },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const over = new AbortController();
    const unknown: unknown[] = [];
    const revisions: number[] = [];
    const start = (await ledger.get("none")).revision;
    const watching = (async () => {
      for await (const { revision, events } of ledger.watch("acknowledged/", { after: start })) {
        if (events.length > 0) revisions.push(revision);
        if (events.some((event) => event.type === "put" && event.keyValue.key.endsWith("/last")))
          return;
      }
    })();
    const writing = (async () => {
      const written: number[] = [];
      for (let i = 0; !over.signal.aborted; i++) {
        const outcome = await ledger.transact(
          [{ key: `acknowledged/${i}`, modRevision: 0 }],
          [{ type: "put", key: `acknowledged/${i}`, value: bytes(String(i)) }],
        );
        // With time enough a mark tells of every attempt whether it was applied.
        if (outcome.state === "done") written.push(outcome.revision);
        else unknown.push(outcome);
      }
      written.push(await put(ledger, "acknowledged/last", "1"));
      return written;
    })();
    const histories = (async () => {
      const all = [];
      const keys = 2;
      for (let seed = 1; !over.signal.aborted; seed++) {
        // Each history begins with nothing.
        for (let key = 0; key < keys; key++)
          await ledger.transact([], [{ type: "delete", key: `r/${key}` }]);
        const history = await recordHistory(ledger, { seed, clients: 4, operations: 10, keys });
        all.push(checkLinearizable(history));
      }
      return all.flat();
    })();
    for (const member of etcd.members) {
      await member.kill();
      const before = (await ledger.get("none", { timeoutMs: patientMs })).revision;
      await waitFor(async () => (await ledger.get("none")).revision > before, {
        timeoutMs: patientMs,
        what: "writes to go on",
      });
      await member.start();
    }
    over.abort();
    const written = await writing;
    assert.deepEqual(await histories, []);
    assert.deepEqual(unknown, []);
    assert.equal((await ledger.list("acknowledged/")).items.length, written.length);
    await watching;
    assert.deepEqual(revisions, written);
  },
);

test(
  "L1, L6, L9: a member that is stopped keeps its connections and holds up nobody",
  { timeout: 90_000 },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const { lease } = await ledger.grant(20_000);
    await ledger.renew(lease);
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { events } of ledger.watch("stopped/", { signal: stop.signal }))
        for (const event of events) if (event.type === "put") seen.push(event.keyValue.key);
    })();
    await put(ledger, "stopped/before", "1");
    await waitFor(() => seen.length === 1, { what: "the watch to stand", timeoutMs: patientMs });
    const [local] = etcd.members;
    local?.pause();
    try {
      await put(ledger, "stopped/during", "1");
      assert.equal(text((await ledger.get("stopped/during")).keyValue?.value), "1");
      assert.ok((await ledger.renew(lease)).ttlMs >= 20_000);
      await waitFor(() => seen.includes("stopped/during"), {
        timeoutMs: patientMs,
        what: "the watch to go on at another member",
      });
      const status = await ledger.status();
      assert.equal(status.quorum, "held");
      assert.equal(status.members.find(({ name }) => name === "n1")?.state, "unreachable");
    } finally {
      local?.resume();
    }
    stop.abort();
    await watching;
    assert.deepEqual(seen, ["stopped/before", "stopped/during"]);
  },
);

test(
  "L4: a connection cut between request and answer never runs a transaction twice",
  { timeout: 60_000 },
  async () => {
    const etcd = await three;
    const [first] = etcd.members;
    assert.ok(first);
    await using proxy = await startCuttingProxy({ host: first.host, port: first.clientPort });
    await using ledger = await etcd.openLedger({
      members: () => [{ name: "cut", host: proxy.host, port: proxy.port }],
      name: "cut",
      timeoutMs: patientMs,
    });
    const before = (await ledger.get("none")).revision;
    let writes = 0;
    for (let round = 0; proxy.cuts < 8 && round < 100; round++) {
      // Somewhere in the request, or behind it: then the next ping of the connection is the cut.
      proxy.cutAfter(100 + 25 * (round % 8));
      await put(ledger, "counted", String(round));
      writes++;
    }
    assert.ok(proxy.cuts >= 8);
    const { keyValue, revision } = await ledger.get("counted");
    assert.equal(keyValue?.version, writes);
    assert.ok(revision >= before + writes);
  },
);

test(
  "L3, L13: a rewritten history begins a new epoch far ahead, and refuses what was prepared against the old one",
  { timeout: 60_000 },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger();
    await using other = await etcd.openLedger({ name: "n2" });
    const old = await put(ledger, "rewritten", "1");
    const { epoch } = ledger;
    const seen: Revision[] = [];
    const watching = (async () => {
      for await (const batch of other.watch("rewritten", { after: (old - 1) as Revision }))
        seen.push(batch.revision);
    })();
    watching.catch(() => {});
    await waitFor(() => seen.length > 0, { what: "the watch to stand", timeoutMs: patientMs });
    const { revision } = await ledger.rewriteHistory();
    assert.ok(revision > old + 2 ** 32);
    const stale = await other.transact(
      [{ key: "rewritten", modRevision: old }],
      [{ type: "put", key: "rewritten", value: bytes("2") }],
    );
    assert.equal(stale.state, "refused");
    assert.equal(other.epoch, ledger.epoch);
    assert.notEqual(other.epoch, epoch);
    await assert.rejects(watching, { code: "compacted" });
    await assert.rejects(other.get("rewritten", { atRevision: old }), { code: "compacted" });
    const { keyValue } = await other.get("rewritten");
    assert.ok(keyValue && keyValue.modRevision > old + 2 ** 31);
    const again = await other.transact(
      [{ key: "rewritten", modRevision: keyValue.modRevision }],
      [{ type: "put", key: "rewritten", value: bytes("2") }],
    );
    assert.equal(again.state, "done");
  },
);

test(
  "a learner joins, is promoted when it is in sync, leads, and is removed",
  { timeout: 90_000 },
  async () => {
    const etcd = await three;
    const learner = await etcd.newMember();
    await using ledger = await etcd.openLedger();
    await put(ledger, "hashed", "1");
    using cluster = await etcd.openCluster();
    const hashedAt = Math.max(
      ...(await cluster.status()).map((one) => (one.state === "answers" ? one.etcdRevision : 0)),
    );
    // Refused until all members have seen each other for five seconds.
    const added = await waitFor(() => cluster.addLearner([learner.peerUrl]), {
      timeoutMs: patientMs,
      what: "the members to be well",
    });
    assert.equal(added.isLearner, true);
    // Asked again after a lost answer it is the same one.
    assert.equal((await cluster.addLearner([learner.peerUrl])).id, added.id);
    await learner.start();
    await waitFor(async () => (await cluster.promote(added.id)).state === "promoted", {
      timeoutMs: patientMs,
      what: "the learner to be in sync",
    });
    const known = (await cluster.members()).find(({ id }) => id === added.id);
    assert.deepEqual([known?.name, known?.isLearner], [learner.name, false]);
    await waitFor(
      async () => {
        await cluster.moveLeader(added.id);
        const statuses = await cluster.status();
        return statuses.some((one) => one.state === "answers" && one.leaderId === added.id);
      },
      { timeoutMs: patientMs, what: "the new member to lead" },
    );
    await waitFor(
      async () => {
        const hashes = await Promise.all(
          ["n1", learner.name].map((name) => cluster.hashKv(name, hashedAt)),
        );
        return hashes[0]?.hash === hashes[1]?.hash;
      },
      { timeoutMs: patientMs, what: "both to hold the same" },
    );
    await cluster.remove(added.id);
    await assert.rejects(cluster.remove(added.id), { code: "member-not-found" });
    await assert.rejects(cluster.promote(added.id), { code: "member-not-found" });
    assert.equal((await cluster.members()).length, 3);
    await learner.kill();
    // With its old data it is told that it is no member any more.
    await learner.start().catch(() => {});
    await waitFor(() => learner.output.some((line) => eventOfLine(line)?.kind === "removed"), {
      timeoutMs: patientMs,
      what: "the removed member to be refused",
    });
    await learner.kill();
  },
);

test(
  "L14: members that are full refuse writes, take deletions, and take writes again by themselves",
  { timeout: 90_000 },
  async () => {
    const { path } = await folder;
    const quotaBytes = 6 * 1024 * 1024;
    await using etcd = await startEtcd({
      subnet,
      firstHost: 21,
      folder: `${path}/full`,
      quotaBytes,
    });
    await using ledger = await etcd.openLedger({ quotaBytes, retention: { periodMs: 300 } });
    const value = new Uint8Array(500_000).fill(7);
    // etcd weighs its file as of the last commit, 100 ms ago: a fast disk takes several times the quota.
    let full = 0;
    await assert.rejects(
      async () => {
        for (; full < 400; full++) await put(ledger, `big/${full}`, value);
      },
      { code: "disk-full" },
    );
    assert.equal((await ledger.list("big/")).items.length, full);
    await assert.rejects(put(ledger, "small", "1"), { code: "disk-full" });
    for (let i = 0; i < full; i++) {
      const outcome = await ledger.transact([], [{ type: "delete", key: `big/${i}` }]);
      assert.equal(outcome.state, "done");
    }
    await waitFor(
      async () => {
        await put(ledger, "small", "1");
        return true;
      },
      { timeoutMs: patientMs, what: "writes to be taken again" },
    );
    assert.deepEqual(await ledger.cluster.alarms(), []);
  },
);
