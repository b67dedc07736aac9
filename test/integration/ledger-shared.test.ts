/** Transactions that share one of etcd's, against a real cluster: each comes out as if it had been alone. */
import { strict as assert } from "node:assert";
import { after, test } from "node:test";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import type { Condition, Ledger, Revision, TransactionOutcome } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { memoryFolder, startEtcd } from "../support/etcd.ts";
import { startCuttingProxy } from "../support/etcd-proxy.ts";
import { recordHistory } from "../support/ledger-history.ts";
import { bytes, text } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const subnet = "127.0.36";
const patientMs = 40_000;
const timeout = 90_000;

const folder = memoryFolder();
const three = folder.then(({ path }) => startEtcd({ subnet, folder: `${path}/three`, members: 3 }));
three.catch(() => {});
after(async () => {
  await (await three)[Symbol.asyncDispose]();
  await (await folder)[Symbol.asyncDispose]();
});

const write = (ledger: Ledger, key: string, value: string, when: readonly Condition[] = []) =>
  ledger.transact(when, [{ type: "put", key, value: bytes(value) }]);
const done = (outcome: TransactionOutcome): Revision => {
  assert.equal(outcome.state, "done", outcome.state === "unknown" ? outcome.cause : undefined);
  return outcome.state === "done" ? outcome.revision : (0 as Revision);
};

test(
  "L1, L3, L6, E11: many at once come out each by itself, at fewer revisions, and a watcher sees each once",
  { timeout },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const count = 300;
    const random = seededRandom(7);
    // A third exists before; conditions are right, wrong, or none.
    const at: Revision[] = [];
    for (let i = 0; i < count; i += 3) at[i] = done(await write(ledger, `mixed/${i}`, "before"));
    const leader = { key: "leader", modRevision: done(await write(ledger, "leader", "n1")) };
    const start = (await ledger.get("leader")).revision;
    const cases = Array.from({ length: count }, (_, i) => {
      const condition = (["none", "right", "wrong"] as const)[random.integer(3)] ?? "none";
      const right = at[i] ?? (0 as Revision);
      const wrong = at[i] === undefined ? start : (0 as Revision);
      const key = `mixed/${i}`;
      const own = { key, modRevision: condition === "wrong" ? wrong : right };
      return { condition, key, when: condition === "none" ? [] : [leader, own] };
    });
    const outcomes = await Promise.all(
      cases.map(({ key, when }, i) =>
        ledger.transact(when, [
          { type: "put", key, value: bytes(`after ${i}`) },
          { type: "put", key: `${key}/second`, value: bytes("") },
          { type: "delete", key: `${key}/none` },
        ]),
      ),
    );
    const revisions = new Set<number>();
    for (const [i, outcome] of outcomes.entries()) {
      const { condition, key } = cases[i] ?? { condition: "none", key: "" };
      const { keyValue } = await ledger.get(key);
      const second = await ledger.get(`${key}/second`);
      if (condition === "wrong") {
        assert.equal(outcome.state, "refused", key);
        // Of the two conditions the one that failed, and what stands there.
        const current = outcome.state === "refused" ? outcome.current : [];
        assert.deepEqual(
          current.map((one) => [one.key, text(one.value), one.modRevision]),
          at[i] === undefined ? [] : [[key, "before", at[i]]],
        );
        assert.equal(text(keyValue?.value), at[i] === undefined ? undefined : "before");
        assert.equal(second.keyValue, undefined);
      } else {
        const revision = done(outcome);
        revisions.add(revision);
        assert.deepEqual([text(keyValue?.value), keyValue?.modRevision], [`after ${i}`, revision]);
        assert.equal(second.keyValue?.modRevision, revision);
      }
    }
    const effective = cases.filter(({ condition }) => condition !== "wrong").length;
    assert.ok(revisions.size < effective / 4, `${revisions.size} revisions for ${effective}`);

    const last = done(await write(ledger, "mixed/last", ""));
    const seen: string[] = [];
    for await (const { revision, events } of ledger.watch("mixed/", { after: start })) {
      for (const event of events)
        if (event.type === "put") {
          assert.equal(event.keyValue.modRevision, revision);
          seen.push(event.keyValue.key);
        }
      if (revision >= last) break;
    }
    assert.equal(seen.length, new Set(seen).size);
    assert.equal(seen.length, 2 * effective + 1);
  },
);

test(
  "L1, E11: of two that each write what the other looks at, one is refused",
  { timeout },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const pairs = Array.from({ length: 100 }, (_, i) => [`skew/${i}/a`, `skew/${i}/b`] as const);
    const absent = (key: string): Condition => ({ key, modRevision: 0 as Revision });
    const outcomes = await Promise.all(
      pairs.map(([a, b]) =>
        Promise.all([write(ledger, a, "1", [absent(b)]), write(ledger, b, "1", [absent(a)])]),
      ),
    );
    for (const [i, both] of outcomes.entries())
      assert.deepEqual(both.map(({ state }) => state).toSorted(), ["done", "refused"], `pair ${i}`);
  },
);

test(
  "L4, E3: connections cut between request and answer run none of many twice, and leave none in doubt",
  { timeout },
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
    const callers = 60;
    /** Each has a key that only it writes: by what it knows, by what it should not, and blindly. */
    const writes = Array<number>(callers).fill(0);
    let at = Array<Revision>(callers).fill(0 as Revision);
    const stale = (await ledger.get("none")).revision;
    for (let round = 0; proxy.cuts < 8 && round < 60; round++) {
      at = await Promise.all(
        at.map(async (known, caller) => {
          const key = `cut/${caller}`;
          const turn = (caller + round) % 3;
          const modRevision = turn === 1 && round > 0 ? stale : known;
          const when = turn === 2 ? [] : [{ key, modRevision }];
          const outcome = await write(ledger, key, `${round}`, when);
          // The first went alone; with its answer those that waited for it are on their way.
          if (caller === 0) proxy.cutAfter(50 + 100 * (round % 8));
          if (turn === 1 && round > 0) {
            assert.equal(outcome.state, "refused");
            const current = outcome.state === "refused" ? outcome.current : [];
            assert.deepEqual(
              current.map((one) => one.modRevision),
              [known],
            );
            return known;
          }
          writes[caller] = (writes[caller] ?? 0) + 1;
          return done(outcome);
        }),
      );
    }
    assert.ok(proxy.cuts >= 8, `${proxy.cuts} cuts`);
    for (const [caller, expected] of writes.entries()) {
      const { keyValue } = await ledger.get(`cut/${caller}`);
      assert.deepEqual([keyValue?.version, keyValue?.modRevision], [expected, at[caller]]);
    }
  },
);

test(
  "L4, E3: a transaction whose answers are lost twice is told as what became of it",
  { timeout },
  async () => {
    const etcd = await three;
    const [first] = etcd.members;
    assert.ok(first);
    await using proxy = await startCuttingProxy({ host: first.host, port: first.clientPort });
    await using ledger = await etcd.openLedger({
      members: () => [{ name: "twice", host: proxy.host, port: proxy.port }],
      name: "twice",
      timeoutMs: patientMs,
    });
    const key = "twice/key";
    let current = done(await write(ledger, key, "0"));
    let writes = 1;
    const stale = current;
    current = done(await write(ledger, key, "1"));
    // Somewhere in between the second attempt has been sent and is not answered yet.
    for (let nextBytes = 1000; nextBytes < 5000; nextBytes += 100) {
      proxy.cutAfter(1, { nextBytes });
      const refused = await write(ledger, key, "no", [{ key, modRevision: stale }]);
      assert.equal(refused.state, "refused", `cut again after ${nextBytes} bytes`);
      proxy.cutAfter(1, { nextBytes });
      current = done(await write(ledger, key, "yes", [{ key, modRevision: current }]));
      writes += 1;
    }
    const { keyValue } = await ledger.get(key);
    assert.deepEqual([keyValue?.version, keyValue?.modRevision], [writes + 1, current]);
    assert.ok(proxy.cuts > 100, `${proxy.cuts} cuts`);
  },
);

test(
  "L1: histories of two dozen clients at once are linearizable while members are killed",
  { timeout },
  async () => {
    const etcd = await three;
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const over = new AbortController();
    const histories = (async () => {
      const wrong = [];
      const keys = 12;
      for (let seed = 1; !over.signal.aborted; seed++) {
        for (let key = 0; key < keys; key++)
          await ledger.transact([], [{ type: "delete", key: `r/${key}` }]);
        const history = await recordHistory(ledger, { seed, clients: 24, operations: 6, keys });
        wrong.push(checkLinearizable(history));
      }
      return wrong.flat();
    })();
    for (const member of etcd.members.slice(0, 2)) {
      await member.kill();
      const before = (await ledger.get("none", { timeoutMs: patientMs })).revision;
      await waitFor(async () => (await ledger.get("none")).revision > before + 50, {
        timeoutMs: patientMs,
        what: "writes to go on",
      });
      await member.start();
    }
    over.abort();
    assert.deepEqual(await histories, []);
  },
);

test(
  "E11: those that wait for others give up in their own time: nothing was changed, or nobody knows",
  { timeout },
  async () => {
    const { path } = await folder;
    await using etcd = await startEtcd({ subnet, firstHost: 21, folder: `${path}/one` });
    await using ledger = await etcd.openLedger({ timeoutMs: patientMs });
    const [member] = etcd.members;
    member?.pause();
    const gone = new AbortController();
    const ask = (i: number, options: { timeoutMs: number; signal?: AbortSignal }) =>
      ledger.transact([], [{ type: "put", key: `late/${i}`, value: bytes("1") }], options).then(
        ({ state }) => state,
        (error: unknown) => (error instanceof SkerryError ? error.code : String(error)),
      );
    const range = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => from + i);
    const underWay = range(0, 4).map((i) => ask(i, { timeoutMs: 1500 }));
    const short = range(4, 20).map((i) => ask(i, { timeoutMs: 50 }));
    // Nobody waits for others for longer than 100 ms: these were sent.
    const longer = range(40, 44).map((i) => ask(i, { timeoutMs: 400 }));
    const aborted = range(20, 40).map((i) => ask(i, { timeoutMs: 5000, signal: gone.signal }));
    gone.abort("enough");
    assert.deepEqual(await Promise.all(aborted), Array<string>(20).fill("Error: enough"));
    assert.deepEqual(await Promise.all(short), Array<string>(16).fill("ledger-unavailable"));
    assert.deepEqual(await Promise.all(longer), Array<string>(4).fill("unknown"));
    assert.deepEqual(await Promise.all(underWay), Array<string>(4).fill("unknown"));
    member?.resume();
    await waitFor(async () => (await write(ledger, "late/after", "1")).state === "done", {
      timeoutMs: patientMs,
      what: "writes to be taken again",
    });
    const { items } = await ledger.list("late/");
    for (const { key } of items) assert.match(key, /^late\/([0-3]|4[0-3]|after)$/);
  },
);

test(
  "L14, E8: members that are full refuse many at once, and apply none of those that they refused",
  { timeout },
  async () => {
    const { path } = await folder;
    const quotaBytes = 4 * 1024 * 1024;
    await using etcd = await startEtcd({
      subnet,
      firstHost: 31,
      folder: `${path}/full`,
      quotaBytes,
    });
    await using ledger = await etcd.openLedger({ quotaBytes, retention: { periodMs: 300 } });
    const value = new Uint8Array(20_000).fill(7);
    const kept = new Set<string>();
    const refused = new Set<unknown>();
    for (let round = 0; refused.size === 0 && round < 40; round++)
      await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          const key = `full/${round}/${i}`;
          try {
            done(await ledger.transact([], [{ type: "put", key, value }]));
            kept.add(key);
          } catch (error) {
            refused.add(error instanceof Error && "code" in error ? error.code : error);
          }
        }),
      );
    assert.deepEqual([...refused], ["disk-full"]);
    const { items } = await ledger.list("full/", { limit: 2000 });
    assert.deepEqual(new Set(items.map(({ key }) => key)), kept);
  },
);
