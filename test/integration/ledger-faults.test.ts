/** What befalls the file, the disk and the process under a ledger. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { test } from "node:test";
import type { Ledger, Revision } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { exited, startEntry } from "../../src/runtime/child/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import {
  bytes,
  openTestLedger,
  startLedgerThread,
  temporaryFolder,
  text,
  type LedgerInThread,
} from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const timeout = 60_000;

async function put(ledger: Ledger, key: string, value: Uint8Array): Promise<Revision> {
  const outcome = await ledger.transact([], [{ type: "put", key, value }]);
  if (outcome.state === "done") return outcome.revision;
  assert.fail(`the put was ${outcome.state}`);
}

const isCode = (code: string) => (error: unknown) =>
  error instanceof SkerryError && error.code === code;

test("L2: a killed writer has lost nothing that it acknowledged", { timeout }, async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const url = new URL("../support/ledger-writer.entry.ts", import.meta.url);
  const revisionByKey = new Map<string, number>();
  for (const round of [1, 2, 3]) {
    const child = startEntry(url, {
      args: [path, String(round * 1_000_000)],
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout as Readable });
    let acknowledged = 0;
    lines.on("line", (line) => {
      const [key = "", revision] = line.split(" ");
      // A line that was cut by the kill has no revision: it was not told to anybody.
      if (!revision) return;
      revisionByKey.set(key, Number(revision));
      if (++acknowledged === 100 + round * 57) child.kill("SIGKILL");
    });
    const ended = new Promise((resolve) => lines.once("close", resolve));
    assert.equal((await exited(child)).signal, "SIGKILL");
    await ended;

    await using ledger = openTestLedger({ path });
    const { items, revision } = await ledger.list("k/");
    const itemByKey = new Map(items.map((item) => [item.key, item]));
    for (const [key, at] of revisionByKey) {
      assert.equal(itemByKey.get(key)?.modRevision, at, `${key} was acknowledged at ${at}`);
      assert.ok(at <= revision);
    }
    for (const { key, modRevision } of items) {
      if (!key.endsWith("/twin"))
        assert.equal(itemByKey.get(`${key}/twin`)?.modRevision, modRevision, "L4: not torn apart");
    }
  }
  assert.ok(revisionByKey.size >= 300);
});

type SmallDisk = Disposable & {
  readonly options: { path: string; pagesMax?: number };
  fill(): void;
  free(): void;
};

/** A disk that can be full: a small tmpfs where this user may mount one, else a limit on the file. */
function smallDisk(folder: string): SmallDisk {
  const mount = join(folder, "disk");
  mkdirSync(mount);
  const path = join(mount, "ledger.db");
  const ballast = join(mount, "ballast");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "skerry-test", mount], {
      stdio: "pipe",
    });
  } catch {
    return { options: { path, pagesMax: 200 }, fill() {}, free() {}, [Symbol.dispose]() {} };
  }
  return {
    options: { path },
    fill: () => writeFileSync(ballast, new Uint8Array(1024 * 1024)),
    free: () => rmSync(ballast),
    [Symbol.dispose]: () => void execFileSync("umount", ["--lazy", mount]),
  };
}

test(
  "L14: a full disk refuses writes, loses nothing, and takes writes when there is space",
  { timeout },
  async () => {
    await using folder = await temporaryFolder();
    using disk = smallDisk(folder.path);
    disk.fill();
    let ledger = openTestLedger(disk.options);
    await using _ = { [Symbol.asyncDispose]: () => ledger.close() };
    const value = (i: number) => new Uint8Array(20_000).fill(i);
    const keys: string[] = [];
    await assert.rejects(async () => {
      for (;;) {
        const key = `k/${keys.length}`;
        await put(ledger, key, value(keys.length));
        keys.push(key);
      }
    }, isCode("disk-full"));
    assert.ok(keys.length > 5);
    const { revision } = await ledger.status();
    const refused = await Promise.allSettled(
      [1, 2, 3].map((i) => put(ledger, `more/${i}`, new Uint8Array(200_000))),
    );
    for (const { status } of refused) assert.equal(status, "rejected");
    const assertHeld = async () => {
      for (const [i, key] of keys.entries())
        assert.deepEqual((await ledger.get(key)).keyValue?.value, value(i), key);
      assert.equal((await ledger.list("")).items.length, keys.length);
      assert.equal((await ledger.status()).revision, revision);
    };
    await assertHeld();

    disk.free();
    if (disk.options.pagesMax) {
      await ledger.close();
      ledger = openTestLedger({ path: disk.options.path });
    }
    await assertHeld();
    assert.equal(await put(ledger, "after", new Uint8Array(100_000)), revision + 1);
  },
);

test("L14: compaction makes room in a full file", { timeout }, async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  await using ledger = openTestLedger({ path, pagesMax: 60 });
  const first = await put(ledger, "stays", new Uint8Array(20_000));
  await assert.rejects(async () => {
    for (;;) await put(ledger, "grows", new Uint8Array(20_000));
  }, isCode("disk-full"));
  const { revision } = await ledger.status();
  await ledger.compact(revision);
  assert.equal(await put(ledger, "grows", new Uint8Array(20_000)), revision + 1);
  assert.equal((await ledger.get("stays")).keyValue?.modRevision, first);
});

test("a file that is not a ledger is told so, and stays as it is", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const garbage = Buffer.from("not a database\n".repeat(1000));
  writeFileSync(path, garbage);
  assert.throws(() => openTestLedger({ path }), isCode("store-damaged"));
  assert.deepEqual(readFileSync(path), garbage);
});

for (const [what, damage] of [
  ["torn off", (path: string) => truncateSync(path, Math.floor(statSync(path).size / 2))],
  [
    "overwritten in the middle",
    (path: string) => {
      const content = readFileSync(path);
      content.fill(0xa5, 8192, 8192 + 4096 * 4);
      writeFileSync(path, content);
    },
  ],
] as const) {
  test(`a file that was ${what} is refused as damaged`, async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "ledger.db");
    await using ledger = openTestLedger({ path });
    for (let i = 0; i < 50; i++) await put(ledger, `k/${i}`, new Uint8Array(3000).fill(i));
    await ledger.close();
    damage(path);
    assert.throws(() => openTestLedger({ path }), isCode("store-damaged"));
  });
}

test("a ledger of a newer format is refused and left alone", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  await openTestLedger({ path }).close();
  const db = openDatabase(path);
  db.exec("PRAGMA user_version = 99");
  db.close();
  assert.throws(() => openTestLedger({ path }), isCode("store-too-new"));
});

test("a folder that cannot be made is named", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(join(folder.path, "file"), "");
  const path = join(folder.path, "file", "ledger.db");
  assert.throws(
    () => openTestLedger({ path }),
    (error: unknown) => isCode("store-unavailable")(error) && String(error).includes(path),
  );
});

test("L13: a restored copy opened as a new history has a new epoch, then keeps it", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const epochs: string[] = [];
  for (const newEpoch of [false, false, true, false]) {
    const ledger = openTestLedger({ path, newEpoch });
    epochs.push(ledger.epoch);
    await ledger.close();
  }
  assert.equal(epochs[0], epochs[1]);
  assert.notEqual(epochs[1], epochs[2]);
  assert.equal(epochs[2], epochs[3]);
});

/** Keeps the ledger's thread busy until it is opened, however late this thread gets to that. */
function blockedThread({ thread }: Pick<LedgerInThread, "thread">) {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const blocked = thread.call("test.block", gate);
  return {
    async open() {
      Atomics.store(gate, 0, 1);
      Atomics.notify(gate, 0);
      await blocked;
    },
  };
}

test(
  "L1: when the ledger's thread dies, writes are unknown, reads and watches unavailable",
  { timeout },
  async () => {
    await using folder = await temporaryFolder();
    await using held = await startLedgerThread({ path: join(folder.path, "ledger.db") });
    const { ledger, thread } = held;
    await put(ledger, "a", bytes("1"));
    const watching = (async () => {
      for await (const _ of ledger.watch(""));
    })();
    const gate = new Int32Array(new SharedArrayBuffer(4));
    const blocked = thread.call("test.block", gate);
    const exiting = thread.call("test.exit", undefined);
    const writing = ledger.transact([], [{ type: "put", key: "a", value: bytes("2") }]);
    const reading = ledger.get("a");
    const settled = Promise.allSettled([blocked, exiting]);
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    assert.equal((await writing).state, "unknown");
    await assert.rejects(reading, isCode("ledger-unavailable"));
    await assert.rejects(watching, isCode("ledger-unavailable"));
    await assert.rejects(ledger.list(""), isCode("ledger-unavailable"));
    await settled;
  },
);

test(
  "L1: a thread that stands still: reads end with their time, writes answer unknown",
  { timeout },
  async () => {
    await using folder = await temporaryFolder();
    await using held = await startLedgerThread({ path: join(folder.path, "ledger.db") });
    const { ledger } = held;
    const blocked = blockedThread(held);
    const writing = ledger.transact([], [{ type: "put", key: "a", value: bytes("1") }], {
      timeoutMs: 50,
    });
    await assert.rejects(ledger.get("a", { timeoutMs: 50 }), isCode("ledger-unavailable"));
    const outcome = await writing;
    assert.equal(outcome.state, "unknown");
    await blocked.open();
    assert.equal(
      await put(ledger, "b", bytes("1")).then(async () =>
        text((await ledger.get("b")).keyValue?.value),
      ),
      "1",
    );
  },
);

test(
  "L10: a leader whose ledger stands still learns by its own clock that it lost",
  { timeout },
  async () => {
    await using folder = await temporaryFolder();
    const data = { path: join(folder.path, "ledger.db"), ttlMsMin: 100 };
    await using held = await startLedgerThread(data);
    const leader = await held.ledger.campaign("boss", { id: "a", ttlMs: 1000 });
    const blocked = blockedThread(held);
    await waitFor(() => leader.lost.aborted, { what: "the loss, told by nobody else" });
    await blocked.open();
  },
);

test(
  "L6: a watcher that does not read is bounded, and told when history passed it",
  { timeout },
  async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "ledger.db");
    await using held = await startLedgerThread({ path, retention: { revisionsMin: 0 } });
    const { ledger } = held;
    const watch = ledger.watch("k/", { after: 0 as Revision })[Symbol.asyncIterator]();
    const revisions: number[] = [];
    const read = async () => {
      const next = await watch.next();
      if (!next.done) revisions.push(next.value.revision);
    };
    for (let i = 0; i < 40; i++)
      await Promise.all(
        Array.from({ length: 100 }, (_, j) => put(ledger, `k/${j}`, new Uint8Array(100).fill(i))),
      );
    await ledger.compact(4000 as Revision);
    await assert.rejects(async () => {
      for (;;) await read();
    }, isCode("compacted"));
    assert.ok(revisions.length < 4000);
    assert.deepEqual(
      revisions,
      Array.from(revisions, (_, i) => i + 1),
      "no gap before the end",
    );
  },
);
