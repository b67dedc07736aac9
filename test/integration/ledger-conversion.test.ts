/** A cell's ledger changes its engine under writes: nothing acknowledged is lost, and there is one truth. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { convertLedger } from "../../src/ledger/switching/index.ts";
import type { Ledger, Revision } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import {
  commitTo,
  oldPath,
  openTarget,
  openTruth,
  switchingOver,
} from "../support/ledger-conversion.ts";
import { bytes, hostDeps, openTestLedger, temporaryFolder, text } from "../support/ledger.ts";

const put = (key: string, value: string) => ({ type: "put" as const, key, value: bytes(value) });

async function all(ledger: Ledger): Promise<Map<string, string>> {
  const { items } = await ledger.list("");
  return new Map(items.map(({ key, value }) => [key, text(value) ?? ""]));
}

const codeOf = (error: unknown) => (error instanceof SkerryError ? error.code : String(error));

test("L15: every acknowledged write and every value is there afterwards, stale conditions are refused, revisions grow", async () => {
  await using folder = await temporaryFolder();
  const switching = switchingOver(openTestLedger({ path: oldPath(folder.path) }));
  const acknowledged = new Map<string, string>();
  const stop = new AbortController();
  const revisions: number[] = [];
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let index = 0; !stop.signal.aborted; index++) {
      const [key, value] = [`/registry/${writer}/${index % 20}`, `${writer}-${index}`];
      const outcome = await switching.transact([], [put(key, value)]);
      assert.equal(outcome.state, "done");
      if (outcome.state === "done" && writer === 0) revisions.push(outcome.revision);
      acknowledged.set(key, value);
    }
  });
  while (acknowledged.size < 80) await hostDeps.clock.sleep(1);
  const before = await switching.get("/registry/0/0");
  const told = await convertLedger(hostDeps, switching, {
    openTarget: (from) => openTarget(folder.path, from),
    commit: commitTo(folder.path),
  });
  assert.ok(told.keys >= 80 && told.bytes > 0);
  const after = revisions.length;
  while (revisions.length < after + 50) await hostDeps.clock.sleep(1);
  stop.abort();
  await Promise.all(writers);
  assert.deepEqual(await all(switching), acknowledged);
  assert.deepEqual(
    revisions,
    revisions.toSorted((a, b) => a - b),
  );
  const stale = await switching.transact(
    [{ key: "/registry/0/0", modRevision: before.keyValue?.modRevision ?? 0 }],
    [put("/registry/0/0", "stale")],
  );
  assert.equal(stale.state, "refused");
  await switching.close();
  await using truth = openTruth(folder.path);
  assert.deepEqual(await all(truth), acknowledged);
});

test("L15: watches end with `compacted`, and no older revision can be watched or read", async () => {
  await using folder = await temporaryFolder();
  const switching = switchingOver(openTestLedger({ path: oldPath(folder.path) }));
  await switching.transact([], [put("a", "1")]);
  const { revision: last } = await switching.list("");
  const running = (async () => {
    for await (const _ of switching.watch("a", { after: 0 as Revision })) void _;
  })().then(
    () => "ended",
    (error: unknown) => codeOf(error),
  );
  await convertLedger(hostDeps, switching, {
    openTarget: (from) => openTarget(folder.path, from),
    commit: commitTo(folder.path),
  });
  assert.equal(await running, "compacted");
  const again = (async () => {
    for await (const _ of switching.watch("a", { after: last })) return "event";
    return "ended";
  })().catch(codeOf);
  assert.equal(await again, "compacted");
  assert.equal(await switching.list("", { atRevision: last }).catch(codeOf), "compacted");
  await switching.close();
});

test("L15: leases live on under their old names; elections begin anew, with a later fence", async () => {
  await using folder = await temporaryFolder();
  const switching = switchingOver(openTestLedger({ path: oldPath(folder.path) }));
  const { lease } = await switching.grant(30_000);
  await switching.transact([], [{ ...put("apps/lock", "held"), lease }]);
  const leader = await switching.campaign("controllers", { id: "n1", ttlMs: 30_000 });
  const next = switching.campaign("controllers", { id: "n2", ttlMs: 30_000 });
  await convertLedger(hostDeps, switching, {
    openTarget: (from) => openTarget(folder.path, from),
    commit: commitTo(folder.path),
  });
  assert.ok(leader.lost.aborted, "lost before anybody else can lead");
  const elected = await next;
  assert.ok(elected.fence > leader.fence);
  assert.ok((await switching.renew(lease)).ttlMs >= 30_000);
  const held = await switching.transact([], [{ ...put("apps/second", "held"), lease }]);
  assert.equal(held.state, "done");
  await switching.revoke(lease);
  assert.deepEqual(
    [...(await all(switching)).keys()].filter((key) => key.startsWith("apps/")),
    [],
  );
  await elected.resign();
  await switching.close();
});

test("L15: a conversion that fails or takes too long changes nothing, and writes go on", async () => {
  await using folder = await temporaryFolder();
  const switching = switchingOver(openTestLedger({ path: oldPath(folder.path) }));
  await switching.transact([], [put("a", "1")]);
  const failing = convertLedger(hostDeps, switching, {
    openTarget: async () => {
      throw new SkerryError({ code: "etcd-not-found", message: "planted" });
    },
    commit: commitTo(folder.path),
  });
  const during = switching.transact([], [put("b", "2")]);
  assert.equal(await failing.catch(codeOf), "etcd-not-found");
  assert.equal((await during).state, "done");
  const slow = convertLedger(hostDeps, switching, {
    openTarget: (from) => openTarget(folder.path, from),
    commit: commitTo(folder.path),
    onStep: (step) => (step === "copied" ? hostDeps.clock.sleep(300) : undefined),
    holdMsMax: 100,
  });
  assert.equal(await slow.catch(codeOf), "ledger-unavailable");
  assert.equal((await switching.transact([], [put("c", "3")])).state, "done");
  await switching.close();
  await using truth = openTruth(folder.path);
  assert.deepEqual([...(await all(truth)).keys()], ["a", "b", "c"]);
});

test("L15: when the commit itself fails nobody is answered by either engine any more", async () => {
  await using folder = await temporaryFolder();
  const switching = switchingOver(openTestLedger({ path: oldPath(folder.path) }));
  await switching.transact([], [put("a", "1")]);
  const failing = convertLedger(hostDeps, switching, {
    openTarget: (from) => openTarget(folder.path, from),
    commit: () => {
      throw new SkerryError({ code: "disk-full", message: "planted" });
    },
  });
  assert.equal(await failing.catch(codeOf), "disk-full");
  assert.equal(await switching.transact([], [put("b", "2")]).catch(codeOf), "ledger-unavailable");
  await switching.close();
});

const entry = fileURLToPath(new URL("../support/ledger-conversion.entry.ts", import.meta.url));

for (const step of ["held", "opened", "copied", "compared", "committed", "never"])
  test(`L15: killed when ${step}: one truth, with everything that was acknowledged`, async () => {
    await using folder = await temporaryFolder();
    const child = spawn(process.execPath, [entry, folder.path, step], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let told = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (told += chunk));
    const [, signal] = await new Promise<[number | null, string | null]>((resolve) =>
      child.once("close", (code, by) => resolve([code, by])),
    );
    assert.equal(signal, "SIGKILL");
    await using truth = openTruth(folder.path);
    const found = await all(truth);
    const lost = told
      .trim()
      .split("\n")
      .filter((key) => !found.has(key));
    assert.deepEqual(lost, []);
    const { revision } = await truth.status();
    const outcome = await truth.transact([], [put("later", "1")]);
    assert.ok(outcome.state === "done" && outcome.revision > revision);
  });
