/** Backups of a real ledger: made, proved, copied, and restored as a new history. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { SignedHistory } from "../../src/identity/index.ts";
import { readRecord } from "../../src/runtime/files/index.ts";
import { readRecoveryKey, sharedOver } from "../../src/agent/cell-backups.ts";
import { readNodeRecord } from "../../src/agent/config.ts";
import { planRestore, restoreCell, type RestoreOptions } from "../../src/agent/restore.ts";
import { fetchCopy, parseMeta, sendCopy } from "../../src/backup/index.ts";
import type { KeyValue, Ledger } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { historyJump } from "../../src/lib/history.ts";
import {
  holderIn,
  openFolder,
  recordOf,
  startTestBackups,
  writeAuthority,
  writeNode,
} from "../support/backup.ts";
import { bytes, hostDeps, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const isCode = (code: string) => (error: unknown) =>
  error instanceof SkerryError && error.code === code;

const put = (ledger: Ledger, key: string, value: Uint8Array, lease?: KeyValue["lease"]) =>
  ledger.transact([], [{ type: "put", key, value, ...(lease === undefined ? {} : { lease }) }]);

async function fill(ledger: Ledger, objects: number): Promise<void> {
  for (let index = 0; index < objects; index++)
    await put(ledger, `/registry/core/pods/default/p${index}`, bytes(`{"n":${index}}`));
  await put(ledger, "/registry/core/pods/default/p0", bytes('{"n":"ä€😀"}'));
  await put(ledger, "/registry/core/secrets/default/s", Uint8Array.of(0, 255, 10, 13, 128));
  await put(ledger, "empty", new Uint8Array());
  await ledger.transact([], [{ type: "delete", key: "/registry/core/pods/default/p1" }]);
  const { lease } = await ledger.grant(60_000);
  await put(ledger, "apps/lock", bytes("held"), lease);
  await put(ledger, "elections/controllers/1", bytes("n1"), lease);
}

async function all(ledger: Ledger): Promise<KeyValue[]> {
  const { items } = await ledger.list("");
  return items.filter(({ key }) => !key.startsWith("backup/"));
}

async function firstOf(watch: AsyncIterable<unknown>): Promise<unknown> {
  for await (const batch of watch) return batch;
  return undefined;
}

/** A server's folder with a ledger of its own, and one backup of it. */
async function backedUp(dir: string, objects = 300) {
  const dataDir = join(dir, "n1");
  await writeAuthority(dataDir);
  writeNode(dataDir, recordOf("n1"));
  const ledger = openTestLedger({ path: join(dataDir, "ledger.db") });
  await fill(ledger, objects);
  const folder = await openFolder(join(dataDir, "backups"));
  const backups = startTestBackups(ledger, { dataDir, folder });
  const { meta } = await backups.take();
  return { dataDir, ledger, folder, backups, meta, file: folder.path(meta.id) };
}

const plan = (options: Partial<RestoreOptions> & Pick<RestoreOptions, "dataDir" | "backup">) =>
  planRestore(hostDeps, { key: undefined, node: undefined, host: undefined, ...options });

test("B8: a restored ledger has every object as it was, in a new history that nobody mistakes for the old", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, backups, meta, file } = await backedUp(dir.path);
  const before = await all(ledger);
  const { revision: watched } = await ledger.list("", { limit: 1 });
  const oldEpoch = ledger.epoch;
  // What is written after the backup is lost, and its revisions must not come again.
  for (let index = 0; index < 20; index++) await put(ledger, `later/${index}`, bytes("x"));
  const lost = await put(ledger, "/registry/core/pods/default/p2", bytes("changed"));
  assert.ok(lost.state === "done");
  await backups.stop();
  const key = readRecoveryKey(dataDir)?.secret ?? "";
  await ledger.close();

  const target = join(dir.path, "new");
  const planned = await plan({ dataDir: target, backup: file, key, host: "127.0.44.12" });
  assert.ok(!existsSync(target), "a plan changes nothing");
  const restored = await restoreCell(hostDeps, planned);
  assert.deepEqual(restored.manifest.ledger.countByKind["pods"], 299);
  assert.equal(readNodeRecord(target)?.host, "127.0.44.12");
  const { claim } = readRecord(join(target, "history.json")) as SignedHistory;
  assert.deepEqual(
    { ...claim, atMs: 0 },
    {
      trustDomain: "mill.skerry",
      generation: 1,
      epoch: restored.epoch,
      atMs: 0,
      node: "n1",
      api: "127.0.44.12:7443",
    },
  );
  for (const name of ["identity/ca.json", "identity/recovery.json", "tokens/abc.json"])
    assert.deepEqual(readFileSync(join(target, name)), readFileSync(join(dataDir, name)), name);

  await using again = openTestLedger({ path: join(target, "ledger.db") });
  const isState = ({ key: name }: KeyValue) => !name.startsWith("elections/");
  assert.deepEqual(await all(again), before.filter(isState));
  assert.notEqual(again.epoch, oldEpoch);
  assert.equal(again.epoch, restored.epoch);
  const { revision } = await again.list("", { limit: 1 });
  assert.equal(revision, meta.revision + historyJump);

  await assert.rejects(firstOf(again.watch("", { after: watched })), isCode("compacted"));
  await assert.rejects(firstOf(again.watch("", { after: lost.revision })), isCode("compacted"));
  await assert.rejects(again.get("empty", { atRevision: watched }), isCode("compacted"));
  // A write prepared against what the backup does not have is refused.
  const stale = await again.transact(
    [{ key: "/registry/core/pods/default/p2", modRevision: lost.revision }],
    [{ type: "put", key: "/registry/core/pods/default/p2", value: bytes("stale") }],
  );
  assert.equal(stale.state, "refused");
  const next = await put(again, "/registry/core/pods/default/p2", bytes("next"));
  assert.ok(next.state === "done" && next.revision === revision + 1);
  // The holder of a lock finds its lease again.
  const lock = (await again.get("apps/lock")).keyValue;
  assert.ok(lock?.lease !== undefined);
  assert.equal((await again.renew(lock.lease)).ttlMs, 60_000);
  // A backup of what was restored goes on from there.
  const folder = await openFolder(join(target, "backups"));
  const second = startTestBackups(again, { dataDir: target, folder });
  const { meta: newer } = await second.take();
  assert.ok(newer.revision > meta.revision + historyJump);
  assert.deepEqual(newer.recipients, meta.recipients);
  await second.stop();
});

test("B8: restoring over a stopped server keeps its ledger aside, and makes a worker the server", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, backups, meta, file } = await backedUp(dir.path, 10);
  await put(ledger, "later", bytes("x"));
  await backups.stop();
  await ledger.close();

  const own = await restoreCell(hostDeps, await plan({ dataDir, backup: "latest" }));
  // Once more, from the same backup: yet another history.
  const again = await restoreCell(hostDeps, await plan({ dataDir, backup: "latest" }));
  assert.equal(again.revision, meta.revision + 2 * historyJump);
  assert.ok(own.aside !== undefined && readdirSync(own.aside).includes("ledger.db"));
  {
    await using aside = openTestLedger({ path: join(own.aside, "ledger.db") });
    assert.ok((await aside.get("later")).keyValue, "what was there is kept");
    await using now = openTestLedger({ path: join(dataDir, "ledger.db") });
    assert.equal((await now.get("later")).keyValue, undefined);
  }

  const worker = join(dir.path, "n2");
  const { hub: _, ...record } = { ...recordOf("n2"), hub: undefined };
  writeNode(worker, { ...record, role: "worker", serverApi: "127.0.44.11:7443" });
  const copies = await openFolder(join(worker, "backups"));
  await copies.adopt(meta, await copyOf(file, join(dir.path, "copy.age")));
  const key = readRecoveryKey(dataDir)?.secret ?? "";
  await assert.rejects(plan({ dataDir: worker, backup: meta.id }), isCode("recovery-key-missing"));
  const made = await restoreCell(hostDeps, await plan({ dataDir: worker, backup: meta.id, key }));
  assert.equal(made.aside, undefined);
  const after = readNodeRecord(worker);
  assert.deepEqual([after?.node, after?.role, after?.serverApi], ["n2", "server", undefined]);
});

async function copyOf(from: string, to: string): Promise<string> {
  copyFileSync(from, to);
  return to;
}

test("B8: a restore that is refused changes nothing", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, backups, file } = await backedUp(dir.path, 5);
  await backups.stop();
  await ledger.close();
  const key = readRecoveryKey(dataDir)?.secret ?? "";

  const other = join(dir.path, "other");
  writeNode(other, recordOf("m1", "barn"));
  await assert.rejects(plan({ dataDir: other, backup: file, key }), isCode("restore-refused"));
  await assert.rejects(plan({ dataDir, backup: "mill-no" }), isCode("backup-unknown"));

  // Of the same name, founded anew.
  const twin = join(dir.path, "twin");
  await writeAuthority(twin);
  const planned = await plan({ dataDir: twin, backup: file, key });
  await assert.rejects(restoreCell(hostDeps, planned), isCode("restore-refused"));
  assert.ok(!existsSync(join(twin, "node.json")) && !existsSync(join(twin, "ledger.db")));

  // Cut off behind its manifest: the plan cannot know, the restore does.
  const cut = join(dir.path, "cut.age");
  writeFileSync(cut, readFileSync(file).subarray(0, -20));
  const fresh = join(dir.path, "fresh");
  await assert.rejects(
    plan({ dataDir: fresh, backup: cut, key }).then((one) => restoreCell(hostDeps, one)),
    isCode("backup-damaged"),
  );
  assert.ok(!existsSync(join(fresh, "node.json")) && !existsSync(join(fresh, "ledger.db")));
});

test("B5: what does not come back as it was gets no name", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, folder, backups, meta } = await backedUp(dir.path, 5);
  await backups.stop();
  const lying = startTestBackups(ledger, {
    dataDir,
    folder,
    workbench: {
      async seal({ path }) {
        writeFileSync(path, "nonsense");
        return { bytes: 8, sha256: "0".repeat(64) };
      },
      prove: async () => ({}) as never,
    },
  });
  await assert.rejects(lying.take(), isCode("backup-damaged"));
  assert.deepEqual(folder.list(), [meta]);
  assert.equal(lying.counts.failed, 1);
  await lying.stop();
  await ledger.close();
});

test("B6: a copy goes on where it was cut, and one that arrives damaged is refused", async () => {
  await using dir = await temporaryFolder();
  const { ledger, backups, folder, meta } = await backedUp(dir.path, 5);
  await backups.stop();
  await ledger.close();
  // Larger than a few pieces.
  const large = join(dir.path, "large.age");
  const content = hostDeps.random.bytes(900_000);
  writeFileSync(large, content);
  const big = parseMeta({
    ...meta,
    id: "mill-large",
    bytes: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
  });
  await folder.adopt(big, large);

  const there = await openFolder(join(dir.path, "there"));
  let appends = 0;
  const flaky = holderIn("n2", there, {
    fault(method) {
      if (method === "backup.append" && ++appends % 2 === 0) throw new Error("the link is lost");
    },
  });
  let tries = 0;
  for (; tries < 10 && there.list().length === 0; tries++)
    await sendCopy(folder, flaky, big).catch(() => undefined);
  assert.ok(tries > 2, "it was cut");
  assert.ok(appends <= 4 + tries, `pieces were not sent again: ${appends}`);
  assert.deepEqual(readFileSync(there.path(big.id)), Buffer.from(content));
  assert.equal(await there.check(big.id), "sound");

  // And back, to a machine that lost its own.
  const home = await openFolder(join(dir.path, "home"));
  await fetchCopy(home, holderIn("n2", there), big);
  assert.deepEqual(home.list(), [big]);
  writeFileSync(home.path(big.id), hostDeps.random.bytes(content.length));
  assert.equal(await home.check(big.id), "damaged");
  assert.deepEqual(home.list(), []);

  // Announced as another than what is sent.
  const wrong = { ...big, id: "mill-wrong", sha256: "1".repeat(64) };
  const liar = {
    ...folder,
    read: (_id: string, from: number, max: number) => folder.read(big.id, from, max),
  };
  await assert.rejects(sendCopy(liar, holderIn("n2", there), wrong), isCode("backup-damaged"));
  assert.equal(there.find(wrong.id), undefined);
  await assert.rejects(
    holderIn("n2", there, { isServer: () => false }).offer(big),
    isCode("forbidden"),
  );
  const huge = { ...big, id: "mill-huge", bytes: 2 ** 40 };
  await assert.rejects(holderIn("n2", there).offer(huge), isCode("backup-too-large"));
  // What a start finds is what is whole.
  writeFileSync(there.path(big.id), "short");
  assert.deepEqual((await openFolder(join(dir.path, "there"))).list(), []);
});

test("B4: on schedule; two nodes and the hub get it, one that refuses is passed over; servers take turns", async () => {
  await using dir = await temporaryFolder();
  const dataDir = join(dir.path, "n1");
  await writeAuthority(dataDir);
  await using ledger = openTestLedger({ path: join(dataDir, "ledger.db") });
  await fill(ledger, 20);
  const folder = await openFolder(join(dataDir, "backups"));
  const places = await Promise.all(
    ["n2", "n3", "n4", "hub"].map((name) => openFolder(join(dir.path, name, "backups"))),
  );
  const [n2, n3, n4, hub] = places;
  assert.ok(n2 && n3 && n4 && hub);
  const schedule = { periodMs: 3_600_000, firstMs: 1, jitter: 0 };
  let isHubThere = false;
  const backups = startTestBackups(ledger, {
    dataDir,
    folder,
    schedule,
    tendMs: 50,
    peers: () => [
      holderIn("n2", n2, { refusal: () => "disk: 3 MiB free" }),
      holderIn("n3", n3),
      holderIn("n4", n4),
    ],
    hub: () => (isHubThere ? holderIn("hub", hub) : undefined),
  });
  await waitFor(() => backups.report().on.length === 3, { what: "copies on two nodes" });
  assert.deepEqual(backups.report().on, ["n1", "n3", "n4"]);
  isHubThere = true;
  await waitFor(() => backups.report().on.includes("hub"), { what: "a copy at the hub" });
  assert.match(backups.report().words, /^Last verified backup \d+s ago .* n1, n3, n4, the hub\.$/);
  const [meta] = folder.list();
  assert.ok(meta);
  assert.deepEqual(readFileSync(hub.path(meta.id)), readFileSync(folder.path(meta.id)));
  assert.equal(n2.list().length, 0);

  // Another server knows of it, and makes none.
  const other = startTestBackups(ledger, {
    dataDir,
    folder: await openFolder(join(dir.path, "n5")),
    node: "n5",
    schedule,
    tendMs: 20,
  });
  await waitFor(() => other.report().revision === meta.revision, { what: "the word of n1" });
  assert.equal(other.counts.made, 0);
  assert.deepEqual(other.report().on, ["n1", "n3", "n4", "hub"]);
  await Promise.all([backups.stop(), other.stop()]);
});

test("B4: places that are gone are not named, and others get the copy; nobody calls the next one the first", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, folder, backups, meta } = await backedUp(dir.path, 5);
  await backups.stop();
  const [n2, wiped, n4, n5] = await Promise.all(
    ["n2", "n3", "n4", "n5"].map((name) => openFolder(join(dir.path, name))),
  );
  assert.ok(n2 && wiped && n4 && n5);
  const shared = sharedOver({ ledger, ...hostDeps, dataDir, node: "n1", nowMs: Date.now });
  await shared.tell({ meta, on: ["n1", "n2", "n3"] });
  const gone = new Set(["n2"]);
  const again = startTestBackups(ledger, {
    dataDir,
    folder,
    schedule: { periodMs: 3_600_000, firstMs: 60_000, jitter: 0 },
    tendMs: 20,
    peers: () =>
      [holderIn("n3", wiped), holderIn("n4", n4), holderIn("n5", n5)].slice(gone.size - 1),
    isGone: (name) => gone.has(name),
  });
  assert.match(again.report().words, /^A backup of this cell is about to be made; the newest on/);
  await waitFor(() => again.report().on.length === 3, { what: "copies on two nodes" });
  assert.deepEqual(again.report().on, ["n1", "n3", "n4"], "n3 lost its copy, and has it again");
  assert.equal(wiped.list().length, 1);
  gone.add("n3");
  assert.deepEqual(again.report().on, ["n1", "n4"], "known at once");
  await waitFor(() => again.report().on.includes("n5"), { what: "a copy in its place" });
  await again.stop();

  // Its maker left the cell: who has it looks after it.
  gone.add("n1");
  const heir = startTestBackups(ledger, {
    dataDir: join(dir.path, "n4"),
    folder: n4,
    node: "n4",
    tendMs: 20,
    peers: () => [holderIn("n5", n5), holderIn("n6", wiped)],
    isGone: (name) => gone.has(name),
  });
  await waitFor(() => heir.report().on.length === 3, { what: "copies on two nodes" });
  assert.deepEqual(heir.report().on, ["n4", "n5", "n6"]);
  await heir.stop();
  await ledger.close();
});

test("B7: on a short disk no backup is made, older ones give way, and it is said; with space it goes on", async () => {
  await using dir = await temporaryFolder();
  const { dataDir, ledger, folder, backups, meta } = await backedUp(dir.path, 5);
  const { meta: second } = await backups.take();
  await backups.stop();
  assert.deepEqual(folder.list(), [second], `of one hour the newest stays, not ${meta.id}`);
  const older = parseMeta({ ...second, id: "mill-older", atMs: second.atMs - 7_200_000 });
  copyFileSync(folder.path(second.id), join(dir.path, "older.age"));
  await folder.adopt(older, join(dir.path, "older.age"));
  assert.equal(folder.list().length, 2);

  let short: string | undefined = "disk: 3 MiB free";
  const schedule = { periodMs: 1, firstMs: 1, jitter: 0 };
  const starved = startTestBackups(ledger, {
    dataDir,
    folder,
    schedule,
    tendMs: 20,
    diskShort: () => short,
  });
  await assert.rejects(starved.take(), isCode("disk-full"));
  assert.deepEqual(folder.list(), [second]);
  await waitFor(() => starved.report().state === "stale", { what: "the warning" });
  assert.match(starved.report().words, /disk: 3 MiB free/);
  short = undefined;
  await waitFor(() => starved.counts.made > 0, { what: "a backup again" });
  await starved.stop();
  await ledger.close();
});
