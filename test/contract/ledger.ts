/**
 * What every ledger keeps (src/ledger/README.md, L1 to L13). A suite for one engine calls
 * `ledgerContract` with a way to make an empty ledger; nothing here may know which engine it has.
 */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type {
  Ledger,
  LedgerEvent,
  Operation,
  Revision,
  WatchBatch,
} from "../../src/ledger/index.ts";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import { recordHistory } from "../support/ledger-history.ts";
import { bytes, hostDeps, text } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

export interface LedgerFixture extends AsyncDisposable {
  readonly ledger: Ledger;
  /** Closes the ledger and opens what it left behind. */
  reopen(): Promise<Ledger>;
  /** Opens a snapshot as a ledger of its own. */
  openCopy(path: string): Promise<Ledger & AsyncDisposable>;
  /** A folder for the test's files. */
  readonly folder: string;
  /** The shortest TTL that the engine grants as asked. */
  readonly ttlMs: number;
}

export function ledgerContract(engine: string, create: () => Promise<LedgerFixture>): void {
  const check = (title: string, body: (fixture: LedgerFixture) => Promise<void>) =>
    test(`${engine}: ${title}`, { timeout: 60_000 }, async () => {
      await using fixture = await create();
      await body(fixture);
    });

  check("L1: concurrent histories are linearizable", async ({ ledger }) => {
    const history = await recordHistory(ledger, { seed: 7, clients: 8, operations: 60, keys: 3 });
    assert.deepEqual(checkLinearizable(history), []);
  });

  check(
    "L1: of concurrent compare-and-sets no increment is lost or doubled",
    async ({ ledger }) => {
      const increment = async () => {
        for (;;) {
          const { keyValue } = await ledger.get("counter");
          const value = bytes(String(Number(text(keyValue?.value) ?? 0) + 1));
          const outcome = await ledger.transact(
            [{ key: "counter", modRevision: keyValue?.modRevision ?? 0 }],
            [{ type: "put", key: "counter", value }],
          );
          if (outcome.state === "done") return;
        }
      };
      await Promise.all(Array.from({ length: 25 }, increment));
      const { keyValue } = await ledger.get("counter");
      assert.equal(text(keyValue?.value), "25");
      assert.equal(keyValue?.version, 25);
    },
  );

  check("L2, L13: what was done, and the epoch, are there after a restart", async (fixture) => {
    const { epoch } = fixture.ledger;
    const revision = await put(fixture.ledger, "a", "1");
    const again = await fixture.reopen();
    assert.equal(again.epoch, epoch);
    const { keyValue } = await again.get("a");
    assert.equal(text(keyValue?.value), "1");
    assert.equal(keyValue?.modRevision, revision);
    assert.equal(await put(again, "a", "2"), revision + 1);
  });

  check(
    "L3: each effective write makes the next revision, others make none",
    async ({ ledger }) => {
      const first = await put(ledger, "a", "1");
      assert.equal(await put(ledger, "b", "1"), first + 1);
      assert.equal(await done(ledger, [{ type: "delete", key: "absent" }]), first + 1);
      assert.equal(await done(ledger, []), first + 1);
      assert.equal(await done(ledger, [{ type: "delete", key: "a" }]), first + 2);
      assert.equal((await ledger.get("a")).keyValue, undefined);
      assert.equal((await ledger.status()).revision, first + 2);
    },
  );

  check("L3: create and modify revisions and versions follow the writes", async ({ ledger }) => {
    const created = await put(ledger, "a", "1");
    const modified = await put(ledger, "a", "2");
    const { keyValue } = await ledger.get("a");
    assert.deepEqual(
      [keyValue?.createRevision, keyValue?.modRevision, keyValue?.version],
      [created, modified, 2],
    );
    await done(ledger, [{ type: "delete", key: "a" }]);
    const recreated = await put(ledger, "a", "3");
    const { keyValue: fresh } = await ledger.get("a");
    assert.deepEqual([fresh?.createRevision, fresh?.version], [recreated, 1]);
  });

  check("L4: a transaction is applied whole, or refused with what stands", async ({ ledger }) => {
    const revision = await put(ledger, "a", "1");
    const refused = await ledger.transact(
      [
        { key: "a", modRevision: 0 },
        { key: "gone", modRevision: revision },
      ],
      [{ type: "put", key: "b", value: bytes("1") }],
    );
    assert.equal(refused.state, "refused");
    if (refused.state === "refused") {
      assert.deepEqual(
        refused.current.map(({ key, value, modRevision }) => [key, text(value), modRevision]),
        [["a", "1", revision]],
      );
      assert.equal(refused.revision, revision);
    }
    assert.equal((await ledger.get("b")).keyValue, undefined);
    const at = await done(ledger, [
      { type: "put", key: "b", value: bytes("1") },
      { type: "put", key: "c", value: bytes("1") },
      { type: "delete", key: "a" },
    ]);
    const { items } = await ledger.list("");
    assert.deepEqual(
      items.map(({ key, modRevision }) => [key, modRevision]),
      [
        ["b", at],
        ["c", at],
      ],
    );
  });

  check("L4: a put under a lease that is gone changes nothing", async ({ ledger, ttlMs }) => {
    const { lease } = await ledger.grant(ttlMs);
    await ledger.revoke(lease);
    const before = (await ledger.status()).revision;
    await rejectsWith("lease-not-found", () =>
      ledger.transact(
        [],
        [
          { type: "put", key: "a", value: bytes("1") },
          { type: "put", key: "b", value: bytes("1"), lease },
        ],
      ),
    );
    assert.deepEqual((await ledger.list("")).items, []);
    assert.equal((await ledger.status()).revision, before);
  });

  check(
    "L5: a listing and all its pages are of one revision, in byte order",
    async ({ ledger }) => {
      const keys = ["p/B", "p/a", "p/a!", "p/a/1", "p/a0", "p/~", "p/é"].filter(
        (key) => key !== "p/é",
      );
      for (const key of keys.toReversed()) await put(ledger, key, key);
      for (const key of ["o", "p", "p0", "q/a"]) await put(ledger, key, "outside");
      const seen: string[] = [];
      let page = await ledger.list("p/", { limit: 2 });
      const { revision } = page;
      for (;;) {
        seen.push(...page.items.map(({ key }) => key));
        if (!page.more) break;
        await put(ledger, `p/a/${seen.length}new`, "later");
        await done(ledger, [{ type: "delete", key: "p/~" }]);
        page = await ledger.list("p/", { limit: 2, after: seen.at(-1), atRevision: revision });
        assert.equal(page.revision, revision);
      }
      assert.deepEqual(seen, keys);
      assert.equal((await ledger.list("p/", { limit: 6, atRevision: revision })).more, false);
    },
  );

  check("L6: a watch from a revision gets whole revisions, in order, once", async ({ ledger }) => {
    const start = await put(ledger, "w/a", "1");
    const two = await done(ledger, [
      { type: "put", key: "w/b", value: bytes("1") },
      { type: "put", key: "x", value: bytes("outside") },
      { type: "put", key: "w/a", value: bytes("2") },
    ]);
    await put(ledger, "x", "outside");
    const three = await done(ledger, [{ type: "delete", key: "w/a" }]);
    const seen = await collect(ledger, { prefix: "w/", after: start, until: three });
    assert.deepEqual(
      seen.map(({ revision, events }) => [revision, events.map(describe).sort()]),
      [
        [two, ["w/a=2 was 1", "w/b=1"]],
        [three, ["delete w/a was 2"]],
      ],
    );
  });

  check("L6: a watch that starts behind catches up while others write", async ({ ledger }) => {
    const start = await put(ledger, "w/0", "0");
    const write = async (from: number) => {
      for (let i = 0; i < 150; i++) await put(ledger, `w/${(from + i) % 10}`, String(i));
    };
    await Promise.all([write(0), write(1)]);
    const writing = Promise.all([write(2), write(3)]);
    const seen = await collect(ledger, {
      prefix: "w/",
      after: start,
      until: (start + 600) as Revision,
    });
    await writing;
    assert.deepEqual(
      seen.map(({ revision }) => revision),
      Array.from({ length: 600 }, (_, i) => start + 1 + i),
    );
  });

  check("L6: a watch from now sees what is written after the call", async ({ ledger }) => {
    await put(ledger, "w/a", "before");
    const stop = new AbortController();
    const watch = ledger.watch("w/", { signal: stop.signal });
    const revision = await put(ledger, "w/a", "after");
    for await (const batch of watch) {
      if (batch.events.length === 0) continue;
      assert.deepEqual(
        [batch.revision, batch.events.map(describe)],
        [revision, ["w/a=after was before"]],
      );
      break;
    }
    stop.abort();
  });

  check("L6: a watch ends when its signal is aborted, idle or not", async ({ ledger }) => {
    const stop = new AbortController();
    const revisions: Revision[] = [];
    const watching = (async () => {
      for await (const { revision } of ledger.watch("", { signal: stop.signal }))
        revisions.push(revision);
    })();
    await put(ledger, "a", "1");
    await waitFor(() => revisions.length > 0, { what: "the first batch" });
    stop.abort();
    await watching;
    for await (const _ of ledger.watch("", { signal: stop.signal })) assert.fail("was aborted");
  });

  check("L6: a watch says that the ledger was closed", async (fixture) => {
    const { ledger } = fixture;
    const watching = (async () => {
      for await (const _ of ledger.watch(""));
    })();
    watching.catch(() => {});
    await fixture.reopen();
    await rejectsWith("ledger-unavailable", () => watching);
    await rejectsWith("ledger-unavailable", () => ledger.get("a"));
  });

  check("L7: a watch whose keys rest learns how far history has gone", async ({ ledger }) => {
    const stop = new AbortController();
    const watch = ledger.watch("quiet/", { signal: stop.signal });
    const revision = await put(ledger, "loud", "1");
    for await (const batch of watch) {
      assert.deepEqual(batch.events, []);
      if (batch.revision >= revision) break;
    }
    stop.abort();
  });

  check("L8: compaction forgets history and nothing else", async ({ ledger }) => {
    const one = await put(ledger, "a", "1");
    await put(ledger, "old", "stays");
    const two = await put(ledger, "a", "2");
    const three = await put(ledger, "a", "3");
    assert.equal(text((await ledger.get("a", { atRevision: one })).keyValue?.value), "1");
    assert.equal(
      (await ledger.get("a", { atRevision: (one - 1) as Revision })).keyValue,
      undefined,
    );
    assert.deepEqual(
      (await ledger.list("", { atRevision: two })).items.map(({ value }) => text(value)),
      ["2", "stays"],
    );
    await ledger.compact(two);
    await ledger.compact(one);
    assert.equal((await ledger.status()).compactedRevision, two);
    await rejectsWith("compacted", () => ledger.get("a", { atRevision: one }));
    await rejectsWith("compacted", () => ledger.list("", { atRevision: one }));
    await rejectsWith("compacted", () => collect(ledger, { prefix: "", after: one, until: three }));
    assert.equal(text((await ledger.get("a", { atRevision: two })).keyValue?.value), "2");
    assert.equal((await ledger.list("", { atRevision: two })).items.length, 2);
    const seen = await collect(ledger, { prefix: "", after: two, until: three });
    assert.deepEqual(
      seen.flatMap(({ events }) => events.map(describe)),
      ["a=3 was 2"],
    );
    assert.equal(text((await ledger.get("old")).keyValue?.value), "stays");
  });

  check("L8: nobody reads ahead of history", async ({ ledger }) => {
    const ahead = ((await put(ledger, "a", "1")) + 1) as Revision;
    await rejectsWith("future-revision", () => ledger.get("a", { atRevision: ahead }));
    await rejectsWith("future-revision", () => ledger.list("", { atRevision: ahead }));
    await rejectsWith("future-revision", () => ledger.compact(ahead));
    await rejectsWith("future-revision", () =>
      collect(ledger, { prefix: "", after: ahead, until: ahead }),
    );
  });

  check("L9: the keys of an expired lease go at one revision", async ({ ledger, ttlMs }) => {
    const begin = async () => {
      const { lease, ttlMs: told } = await ledger.grant(ttlMs);
      assert.ok(told >= ttlMs);
      const start = await done(ledger, [
        { type: "put", key: "l/a", value: bytes("1"), lease },
        { type: "put", key: "l/b", value: bytes("1"), lease },
        { type: "put", key: "l/free", value: bytes("1") },
      ]);
      return { lease, start };
    };
    // Again where it expired before it was used: this machine stood still.
    const { lease, start } = await waitFor(begin, { what: "a put under a lease" });
    const [puts, deletes] = await collect(ledger, {
      prefix: "l/",
      after: (start - 1) as Revision,
      until: (start + 1) as Revision,
    });
    assert.deepEqual(
      puts?.events.map((event) => event.type === "put" && event.keyValue.lease),
      [lease, lease, undefined],
    );
    assert.deepEqual(deletes?.events.map(describe), ["delete l/a was 1", "delete l/b was 1"]);
    await rejectsWith("lease-not-found", () => ledger.renew(lease));
    assert.equal((await ledger.list("l/")).items.length, 1);
  });

  check(
    "L9: a renewed lease lives, a revoked one is gone, twice over",
    async ({ ledger, ttlMs }) => {
      const kept = await ledger.grant(ttlMs * 10);
      await put(ledger, "kept", "1", kept.lease);
      const outlives = async () => {
        let renewedMs = performance.now();
        try {
          const short = await ledger.grant(ttlMs);
          await put(ledger, "renewed", "1", short.lease);
          const witness = await ledger.grant(ttlMs);
          await put(ledger, "witness", "1", witness.lease);
          do {
            const nowMs = performance.now();
            assert.ok((await ledger.renew(short.lease)).ttlMs >= ttlMs);
            renewedMs = nowMs;
            // Leases end by timers, which a ledger in this thread needs a turn for.
            await hostDeps.clock.sleep(10);
          } while ((await ledger.get("witness")).keyValue);
          assert.ok((await ledger.get("renewed")).keyValue);
          return true;
        } catch (error) {
          // A machine that stood still renewed nothing for so long: then once more.
          if (performance.now() - renewedMs < ttlMs) throw error;
          return false;
        }
      };
      while (!(await outlives())) continue;
      await ledger.revoke(kept.lease);
      await ledger.revoke(kept.lease);
      assert.equal((await ledger.get("kept")).keyValue, undefined);
    },
  );

  check("L9: a put without a lease takes the key out of it", async ({ ledger, ttlMs }) => {
    const { lease } = await ledger.grant(ttlMs * 10);
    await put(ledger, "a", "1", lease);
    await put(ledger, "a", "2");
    await ledger.revoke(lease);
    assert.equal(text((await ledger.get("a")).keyValue?.value), "2");
  });

  check("L9: a restarted ledger starts leases anew, and ends them", async (fixture) => {
    const { lease } = await fixture.ledger.grant(fixture.ttlMs * 4);
    await put(fixture.ledger, "a", "1", lease);
    const again = await fixture.reopen();
    assert.ok((await again.renew(lease)).ttlMs >= fixture.ttlMs);
    await waitFor(async () => (await again.get("a")).keyValue === undefined, {
      what: "the lease to expire after the restart",
    });
  });

  check("L10: one leads at a time, and fences grow", async ({ ledger, ttlMs }) => {
    const ttl = ttlMs * 10;
    const first = await ledger.campaign("boss", { id: "a", ttlMs: ttl });
    const order: string[] = [];
    const others = ["b", "c"].map(async (id) => {
      const campaign = await ledger.campaign("boss", { id, ttlMs: ttl });
      order.push(id);
      return campaign;
    });
    const elsewhere = await ledger.campaign("other", { id: "x", ttlMs: ttl });
    await waitFor(async () => (await ledger.list("elections/boss/")).items.length === 3, {
      what: "both to wait",
    });
    assert.deepEqual(order, []);
    assert.equal(first.lost.aborted, false);
    await first.resign();
    assert.equal(first.lost.aborted, true);
    const second = await Promise.race(others);
    assert.ok(second.fence > first.fence);
    assert.equal(order.length, 1);
    await second.resign();
    const third = (await Promise.all(others)).find(({ lost }) => !lost.aborted);
    assert.ok(third && third.fence > second.fence);
    await Promise.all([third.resign(), elsewhere.resign()]);
    assert.deepEqual((await ledger.list("elections/")).items, []);
  });

  check(
    "L10: a leader whose key or lease is gone learns that it lost",
    async ({ ledger, ttlMs }) => {
      const leader = await ledger.campaign("boss", { id: "a", ttlMs: ttlMs * 3 });
      const [held] = (await ledger.list("elections/boss/")).items;
      assert.equal(text(held?.value), "a");
      assert.ok(held?.lease);
      await ledger.revoke(held.lease);
      await waitFor(() => leader.lost.aborted, { what: "the loss of leadership" });
      const next = await ledger.campaign("boss", { id: "b", ttlMs: ttlMs * 3 });
      assert.ok(next.fence > leader.fence);
      await next.resign();
    },
  );

  check("L10: a candidate who gives up leaves nothing behind", async ({ ledger, ttlMs }) => {
    const leader = await ledger.campaign("boss", { id: "a", ttlMs: ttlMs * 10 });
    const stop = new AbortController();
    const waiting = ledger.campaign("boss", { id: "b", ttlMs: ttlMs * 10, signal: stop.signal });
    waiting.catch(() => {});
    await waitFor(async () => (await ledger.list("elections/boss/")).items.length === 2, {
      what: "the candidate to stand",
    });
    stop.abort(new Error("changed my mind"));
    await assert.rejects(waiting, /changed my mind/);
    assert.equal((await ledger.list("elections/boss/")).items.length, 1);
    await leader.resign();
  });

  check("L11: what breaks a limit is refused by name and changes nothing", async ({ ledger }) => {
    const value = bytes("1");
    const wrong: [RegExp, readonly Operation[]][] = [
      [/then\[0\]\.key: ""/, [{ type: "put", key: "", value }]],
      [/then\[0\]\.key: "a\\n"/, [{ type: "put", key: "a\n", value }]],
      [/then\[0\]\.key: "ä"/, [{ type: "delete", key: "ä" }]],
      [/then\[0\]\.key: "kkk/, [{ type: "put", key: "k".repeat(1025), value }]],
      [
        /then\[1\]\.key: "a" stands twice/,
        [
          { type: "put", key: "a", value },
          { type: "delete", key: "a" },
        ],
      ],
      [
        /then\[0\]\.value: 1048577 bytes for "a", at most 1048576/,
        [{ type: "put", key: "a", value: new Uint8Array(1_048_577) }],
      ],
      [
        /129 operations: at most 128/,
        Array.from({ length: 129 }, (_, i) => ({ type: "put", key: `k${i}`, value })),
      ],
      [
        /1400002 bytes of keys and values, at most/,
        [
          { type: "put", key: "a", value: new Uint8Array(700_000) },
          { type: "put", key: "b", value: new Uint8Array(700_000) },
        ],
      ],
    ];
    for (const [message, then] of wrong) {
      await assert.rejects(ledger.transact([], then), (error: Error & { code?: string }) => {
        assert.equal(error.code, "invalid-transaction");
        assert.match(error.message, message);
        return true;
      });
    }
    await rejectsWith("invalid-transaction", () =>
      ledger.transact([{ key: "a", modRevision: -1 as Revision }], []),
    );
    await rejectsWith("invalid-ttl", () => ledger.grant(0));
    await rejectsWith("invalid-ttl", () => ledger.grant(Number.NaN));
    await rejectsWith("invalid-limit", () => ledger.list("", { limit: 0 }));
    assert.equal((await ledger.status()).revision, 0);
    const largest = new Uint8Array(1_048_576).fill(7);
    await done(ledger, [{ type: "put", key: "k".repeat(1024), value: largest }]);
    assert.deepEqual((await ledger.get("k".repeat(1024))).keyValue?.value, largest);
  });

  check("L11: the caller may reuse its buffer at once", async ({ ledger }) => {
    const buffer = bytes("first");
    const start = (await ledger.status()).revision;
    const writing = ledger.transact([], [{ type: "put", key: "a", value: buffer }]);
    buffer.fill(0);
    await writing;
    assert.equal(text((await ledger.get("a")).keyValue?.value), "first");
    const [batch] = await collect(ledger, {
      prefix: "",
      after: start,
      until: (start + 1) as Revision,
    });
    assert.deepEqual(batch?.events.map(describe), ["a=first"]);
  });

  check("L12: a snapshot is the ledger of one revision", async ({ ledger, folder, openCopy }) => {
    for (let i = 0; i < 20; i++) await put(ledger, `k/${i}`, String(i));
    const path = join(folder, "copies", "snapshot");
    const writing = ledger.snapshot(path);
    const racing = put(ledger, "later", "1");
    const { revision, bytes: size, sha256 } = await writing;
    await racing;
    const content = await readFile(path);
    assert.equal(content.byteLength, size);
    assert.equal(createHash("sha256").update(content).digest("hex"), sha256);
    await rejectsWith("file-exists", () => ledger.snapshot(path));
    await using copy = await openCopy(path);
    assert.equal((await copy.status()).revision, revision);
    assert.equal(copy.epoch, ledger.epoch);
    assert.deepEqual(await copy.list("k/"), await ledger.list("k/", { atRevision: revision }));
  });

  check("L1: a write that nobody waits for any more answers unknown", async ({ ledger }) => {
    const stop = new AbortController();
    const writing = ledger.transact([], [{ type: "put", key: "a", value: bytes("1") }], {
      signal: stop.signal,
    });
    stop.abort(new Error("gone"));
    const outcome = await writing;
    if (outcome.state !== "done") {
      assert.equal(outcome.state, "unknown");
      assert.match(outcome.state === "unknown" ? outcome.cause.message : "", /gone/);
    }
    await assert.rejects(ledger.transact([], [], { signal: stop.signal }), /gone/);
    await assert.rejects(ledger.get("a", { signal: stop.signal }), /gone/);
  });
}

async function done(ledger: Ledger, operations: readonly Operation[]): Promise<Revision> {
  const outcome = await ledger.transact([], operations);
  if (outcome.state === "done") return outcome.revision;
  assert.fail(`the transaction was ${outcome.state}`);
}

const put = (ledger: Ledger, key: string, value: string, lease?: Parameters<Ledger["renew"]>[0]) =>
  done(ledger, [{ type: "put", key, value: bytes(value), ...(lease && { lease }) }]);

/** Batches with events, up to and with revision `until`. */
async function collect(
  ledger: Ledger,
  range: { prefix: string; after: Revision; until: Revision },
): Promise<WatchBatch[]> {
  const seen: WatchBatch[] = [];
  for await (const batch of ledger.watch(range.prefix, { after: range.after })) {
    if (batch.events.length > 0) seen.push(batch);
    if (batch.revision >= range.until) break;
  }
  return seen;
}

function describe(event: LedgerEvent): string {
  const was = event.previous ? ` was ${text(event.previous.value)}` : "";
  return event.type === "put"
    ? `${event.keyValue.key}=${text(event.keyValue.value)}${was}`
    : `delete ${event.key}${was}`;
}

async function rejectsWith(code: string, call: () => Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.stack);
    return true;
  });
}
