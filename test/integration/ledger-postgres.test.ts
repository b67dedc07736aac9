/** What only a ledger in PostgreSQL promises (src/ledger/README.md, P1 to P7): several processes, and faults. */
import { strict as assert } from "node:assert";
import { after, test } from "node:test";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import type { Ledger, Revision, WatchBatch } from "../../src/ledger/index.ts";
import { recordHistory } from "../support/ledger-history.ts";
import { postgresLedgers } from "../support/ledger-postgres.ts";
import { bytes, text } from "../support/ledger.ts";
import { startPostgresProxy, type PostgresProxy } from "../support/postgres-proxy.ts";
import { smallPostgresDisk } from "../support/postgres-small-disk.ts";
import { waitFor } from "../support/wait.ts";

const timeout = 120_000;
const ledgers = postgresLedgers({ host: "127.0.71.2" });
after(() => ledgers.stop());

const put = async (ledger: Ledger, key: string, value: string): Promise<Revision> => {
  const outcome = await ledger.transact([], [{ type: "put", key, value: bytes(value) }]);
  if (outcome.state === "done") return outcome.revision;
  assert.fail(`the put was ${outcome.state}`);
};

/** Two processes' ledgers on one new database. */
async function two(): Promise<AsyncDisposable & { url: string; a: Ledger; b: Ledger }> {
  const url = await (await ledgers.server()).freshUrl();
  // Nothing but what is tested reads by itself.
  const options = { ttlMsMin: 1_000, bookmarkMs: timeout, retention: { periodMs: timeout } };
  // At once: they meet at the making of the tables.
  const [a, b] = await Promise.all([ledgers.open(url, options), ledgers.open(url, options)]);
  return {
    url,
    a,
    b,
    async [Symbol.asyncDispose]() {
      await Promise.all([a.close(), b.close()]);
    },
  };
}

/** What a watch is told, as it comes; `error` is how it ended. */
function follow(ledger: Ledger, after: Revision) {
  const stop = new AbortController();
  const seen: WatchBatch[] = [];
  const told: { error?: Error & { code?: string } } = {};
  const ended = (async () => {
    for await (const batch of ledger.watch("", { after, signal: stop.signal }))
      if (batch.events.length > 0) seen.push(batch);
  })().catch((error: Error) => {
    told.error = error;
  });
  return {
    seen,
    told,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

test(
  "P1: of two processes' compare-and-sets no increment is lost or doubled",
  { timeout },
  async () => {
    await using cell = await two();
    const increment = async (ledger: Ledger) => {
      for (;;) {
        const { keyValue } = await ledger.get("counter");
        const value = bytes(String(Number(text(keyValue?.value) ?? 0) + 1));
        const outcome = await ledger.transact(
          [{ key: "counter", modRevision: keyValue?.modRevision ?? 0 }],
          [{ type: "put", key: "counter", value }],
        );
        if (outcome.state === "done") return outcome.revision;
      }
    };
    const revisions = await Promise.all(
      [cell.a, cell.b].flatMap((ledger) => Array.from({ length: 12 }, () => increment(ledger))),
    );
    assert.deepEqual(
      revisions.toSorted((x, y) => x - y),
      Array.from({ length: 24 }, (_, i) => i + 1),
    );
    assert.equal(text((await cell.a.get("counter")).keyValue?.value), "24");
  },
);

test(
  "P1, P5: a watch is told what other processes write, in order, once, with what was before",
  { timeout },
  async () => {
    await using cell = await two();
    await using watch = follow(cell.b, 0 as Revision);
    const values = new Map<number, string>();
    const write = async (ledger: Ledger, name: string) => {
      for (let i = 0; i < 40; i++) values.set(await put(ledger, "k", `${name}${i}`), `${name}${i}`);
    };
    await Promise.all([write(cell.a, "a"), write(cell.a, "b"), write(cell.b, "c")]);
    // Which this one can know by looking only.
    values.set(await put(cell.a, "k", "last"), "last");
    await waitFor(() => watch.seen.length >= 121, { what: "all revisions to be told" });
    assert.deepEqual(
      watch.seen.map(({ revision, events: [event] }) => [
        revision,
        event?.type === "put" && text(event.keyValue.value),
        text(event?.previous?.value),
      ]),
      Array.from({ length: 121 }, (_, i) => [i + 1, values.get(i + 1), values.get(i)]),
    );
  },
);

test(
  "P5: what is long behind is read piece by piece, and nothing is left out",
  { timeout },
  async () => {
    await using cell = await two();
    const value = new Uint8Array(500_000);
    for (let i = 0; i < 6; i++)
      await cell.a.transact([], [{ type: "put", key: `k/${i % 2}`, value }]);
    await using watch = follow(cell.b, 0 as Revision);
    await waitFor(() => watch.seen.length >= 6, { what: "all revisions to be told" });
    assert.deepEqual(
      watch.seen.map(({ revision }) => revision),
      [1, 2, 3, 4, 5, 6],
    );
  },
);

test(
  "P4: a lease that one process granted is ended by another, and not while it is renewed",
  { timeout },
  async () => {
    await using cell = await two();
    const { lease, ttlMs } = await cell.a.grant(1_000);
    await cell.a.transact([], [{ type: "put", key: "held", value: bytes("1"), lease }]);
    const witness = await cell.a.grant(ttlMs);
    await cell.a.transact(
      [],
      [{ type: "put", key: "gone", value: bytes("1"), lease: witness.lease }],
    );
    // Renewed by one process, looked at by the other as well.
    await waitFor(
      async () => {
        await cell.a.renew(lease);
        return !(await cell.b.get("gone")).keyValue;
      },
      { what: "the lease that nobody renews to end" },
    );
    assert.ok((await cell.b.get("held")).keyValue);
    await cell.a.close();
    await waitFor(async () => !(await cell.b.get("held")).keyValue, {
      what: "the lease of a process that is gone to end",
    });
    await assert.rejects(cell.b.renew(lease), { code: "lease-not-found" });
  },
);

test("P4: a renewal that comes while a lease is being ended keeps it", { timeout }, async () => {
  await using cell = await two();
  const { lease } = await cell.a.grant(1_000);
  await cell.a.transact([], [{ type: "put", key: "held", value: bytes("1"), lease }]);
  await cell.a.close();
  await using other = await (await ledgers.server()).open(cell.url);
  // Renewed in a transaction that lasts until somebody waits for it in order to end the lease.
  await other.transaction(async (session) => {
    await session.query("UPDATE skerry_ledger.lease SET renewals = renewals + 1");
    await waitFor(
      async () =>
        (
          await other.use((second) =>
            second.query(
              `SELECT 1 FROM pg_stat_activity
               WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM skerry_ledger.lease%'`,
            ),
          )
        ).length > 0,
      { what: "the lease to be about to end" },
    );
  });
  await waitFor(
    async () =>
      await other.use(
        async (session) =>
          (await session.query("SELECT 1 FROM skerry_ledger.state FOR UPDATE NOWAIT")).length > 0,
      ),
    { what: "whoever wanted to end it to have looked" },
  );
  assert.ok((await cell.b.renew(lease)).ttlMs > 0);
  assert.ok((await cell.b.get("held")).keyValue);
});

test(
  "P2: a write that was given up while it waited is not written later",
  { timeout },
  async () => {
    await using cell = await two();
    await using other = await (await ledgers.server()).open(cell.url);
    const givenUp = new AbortController();
    await other.transaction(async (session) => {
      await session.query("SELECT FROM skerry_ledger.state FOR UPDATE");
      const write = (options: { timeoutMs?: number; signal?: AbortSignal }) =>
        cell.a.transact([], [{ type: "put", key: "late", value: bytes("1") }], options);
      await assert.rejects(write({ timeoutMs: 200 }), { code: "ledger-unavailable" });
      const waiting = write({ signal: givenUp.signal });
      givenUp.abort(new Error("gone"));
      assert.equal((await waiting).state, "unknown");
    });
    assert.equal(await put(cell.a, "next", "1"), 1);
    assert.equal((await cell.b.get("late")).keyValue, undefined);
  },
);

async function overProxy(
  work: (ledger: Ledger, proxy: PostgresProxy, url: string) => Promise<void>,
) {
  const server = await ledgers.server();
  const url = await server.freshUrl();
  await using proxy = await startPostgresProxy(server);
  await using ledger = await ledgers.open(proxy.url(url));
  await work(ledger, proxy, url);
}

for (const fault of ["lose-answer", "lose-request"] as const)
  test(
    `P2: a connection lost at the commit (${fault}): it is found out, and written once`,
    { timeout },
    () =>
      overProxy(async (ledger, proxy) => {
        assert.equal(await put(ledger, "a", "1"), 1);
        proxy.atCommit(fault);
        assert.equal(await put(ledger, "a", "2"), 2);
        assert.equal(proxy.faults, 1);
        const { keyValue } = await ledger.get("a");
        assert.deepEqual([text(keyValue?.value), keyValue?.version], ["2", 2]);
        proxy.atCommit(fault);
        // Its condition holds only once: a second try of what was applied would be refused.
        const outcome = await ledger.transact(
          [{ key: "a", modRevision: 2 as Revision }],
          [{ type: "delete", key: "a" }],
        );
        assert.deepEqual(outcome, { state: "done", revision: 3 });
        assert.equal(proxy.faults, 2);
      }),
  );

test("P2: a transaction that another one followed is still known by its mark", { timeout }, () =>
  overProxy(async (ledger, proxy, url) => {
    await using other = await ledgers.open(url);
    for (const [index, fault] of (["lose-answer", "lose-request"] as const).entries()) {
      proxy.atCommit(fault, { vanish: true });
      const before = (await other.status()).revision;
      const writing = put(ledger, `mine/${fault}`, "1");
      await waitFor(() => proxy.faults > index, { what: "the commit to be cut" });
      const followed = await put(other, `other/${fault}`, "1");
      proxy.heal();
      const revision = await writing;
      assert.deepEqual(
        [revision, followed].toSorted((x, y) => x - y),
        [before + 1, before + 2],
      );
      assert.equal((await other.get(`mine/${fault}`)).keyValue?.modRevision, revision);
      assert.equal((await other.get(`mine/${fault}`)).keyValue?.version, 1);
    }
  }),
);

test(
  "P2: what cannot be found out in time is unknown, and what was not sent is refused",
  { timeout },
  () =>
    overProxy(async (ledger, proxy, url) => {
      await put(ledger, "a", "1");
      proxy.atCommit("lose-answer", { vanish: true });
      const timeoutMs = 300;
      const outcome = await ledger.transact([], [{ type: "put", key: "a", value: bytes("2") }], {
        // The commit is to be sent within it.
        timeoutMs: 2_000,
      });
      assert.equal(outcome.state, "unknown");
      await assert.rejects(
        ledger.transact([], [{ type: "put", key: "a", value: bytes("3") }], { timeoutMs }),
        { code: "ledger-unavailable", retryable: true },
      );
      await assert.rejects(ledger.get("a", { timeoutMs }), { code: "ledger-unavailable" });
      assert.equal((await ledger.status()).quorum, "lost");
      await using other = await ledgers.open(url);
      assert.equal(text((await other.get("a")).keyValue?.value), "2");
      proxy.heal();
      assert.equal(await put(ledger, "a", "4"), 3);
    }),
);

test(
  "P3: killed in the middle of writes, PostgreSQL comes back with what was done, once",
  { timeout },
  async () => {
    const server = await ledgers.server();
    await using cell = await two();
    await using watch = follow(cell.b, 0 as Revision);
    const done = new Map<number, string>();
    const open = new Set<string>();
    const writing = new AbortController();
    let refusals = 0;
    const write = async (ledger: Ledger, name: string) => {
      for (let i = 0; !writing.signal.aborted; i++) {
        const key = `${name}/${i}`;
        try {
          const outcome = await ledger.transact([], [{ type: "put", key, value: bytes("1") }], {
            timeoutMs: 300,
          });
          if (outcome.state === "done") done.set(outcome.revision, key);
          else open.add(key);
        } catch (error) {
          assert.equal((error as { code?: string }).code, "ledger-unavailable", String(error));
          refusals++;
        }
      }
    };
    const clients = ["a", "b", "c"].map((name) => write(name === "c" ? cell.b : cell.a, name));
    for (const count of [40, 80]) {
      await waitFor(() => done.size >= count, { what: "some writes" });
      const before = refusals + open.size;
      await server.kill();
      await waitFor(() => refusals + open.size > before, { what: "a write to meet the kill" });
      await server.start();
    }
    const reached = done.size + 20;
    await waitFor(() => done.size >= reached, { what: "writes after the kills" });
    writing.abort();
    await Promise.all(clients);
    const last = await put(cell.a, "last", "1");
    await waitFor(() => watch.seen.at(-1)?.revision === last, {
      what: "the watch to come to the end",
    });
    assert.deepEqual(
      watch.seen.map(({ revision }) => revision),
      Array.from({ length: last }, (_, i) => i + 1),
      "L6: a watch goes on after a restart without a gap",
    );
    const { items } = await cell.b.list("");
    for (const { key, modRevision, version } of items) {
      assert.equal(version, 1, `${key} was written once`);
      if (key === "last") continue;
      assert.ok(done.get(modRevision) === key || open.has(key), `${key} was refused, and stands`);
    }
    const standing = new Map(items.map((item) => [item.modRevision as number, item.key]));
    for (const [revision, key] of done)
      assert.equal(standing.get(revision), key, "L2: done is there");
  },
);

test(
  "P3: what two processes saw while PostgreSQL was killed is linearizable",
  { timeout },
  async () => {
    const server = await ledgers.server();
    await using cell = await two();
    let calls = 0;
    const turn = () => (calls++ % 2 === 0 ? cell.a : cell.b);
    const both: Ledger = {
      ...cell.a,
      get: (key, options) => turn().get(key, options),
      transact: (when, then) => turn().transact(when, then, { timeoutMs: 500 }),
    };
    const recording = recordHistory(both, { seed: 11, clients: 6, operations: 40, keys: 3 });
    await waitFor(() => calls >= 100, { what: "some calls" });
    await server.kill();
    await server.start();
    assert.deepEqual(checkLinearizable(await recording), []);
  },
);

test(
  "P6: a PostgreSQL that comes back with less is told: watches are compacted",
  { timeout },
  async () => {
    await using cell = await two();
    for (let i = 0; i < 5; i++) await put(cell.a, "k", String(i));
    await using watch = follow(cell.a, 0 as Revision);
    await waitFor(() => watch.seen.length === 5, { what: "the watch to have seen all" });
    await using other = await (await ledgers.server()).open(cell.url);
    await other.use((session) =>
      session.script(
        `DELETE FROM skerry_ledger.history WHERE revision > 3;
       UPDATE skerry_ledger.history SET superseded = NULL WHERE superseded > 3;
       UPDATE skerry_ledger.state SET revision = 3`,
      ),
    );
    await waitFor(() => watch.told.error, { what: "the watch to be told" });
    assert.equal(watch.told.error?.code, "compacted");
    await using again = follow(cell.a, 3 as Revision);
    assert.equal(await put(cell.b, "k", "other"), 4);
    await waitFor(() => again.seen.length === 1, { what: "a new watch to go on" });
  },
);

test(
  "L14: a full disk of PostgreSQL refuses writes, loses nothing, and takes them when there is space",
  { timeout },
  async () => {
    await using disk = await smallPostgresDisk(await ledgers.server(), {
      name: "small_ledger",
      table: "skerry_ledger.history",
    });
    await using ledger = await ledgers.open(disk.url);
    // PostgreSQL packs what repeats.
    const value = (i: number) =>
      crypto.getRandomValues(new Uint8Array(60_000)).fill(i, 0, 1) as Uint8Array;
    const kept: Uint8Array[] = [];
    const write = async () => {
      const next = value(kept.length);
      const outcome = await ledger.transact(
        [],
        [{ type: "put", key: `k/${kept.length}`, value: next }],
      );
      assert.equal(outcome.state, "done");
      kept.push(next);
    };
    await write();
    await disk.fill();
    await assert.rejects(
      async () => {
        for (;;) await write();
      },
      { code: "disk-full", retryable: true },
    );
    const { revision } = await ledger.status();
    assert.equal(revision, kept.length);
    for (const [i, expected] of kept.entries())
      assert.deepEqual((await ledger.get(`k/${i}`)).keyValue?.value, expected);
    await disk.free();
    await write();
    assert.equal((await ledger.status()).revision, revision + 1);
  },
);
