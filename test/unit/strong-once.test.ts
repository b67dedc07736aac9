/** Strong writes under a key: however often they are sent, and however late, they take effect once (T8). */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { strongLedgerOf } from "../../src/agent/strong-ledger.ts";
import type { DocumentWrite } from "../../src/data/documents/store.ts";
import type { StrongCaller } from "../../src/data/index.ts";
import { createStrongDocuments } from "../../src/data/strong/documents.ts";
import { encodeReceipt, receiptProblemOf } from "../../src/data/strong/once.ts";
import type { CoordinationLimits } from "../../src/ledger/applications/index.ts";
import { createReceipts } from "../../src/ledger/applications/service/receipts.ts";
import { openSqliteLedger, type LeaseId, type Ledger } from "../../src/ledger/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import {
  failing,
  unavailableError,
  withFaults,
  type TransactFault,
} from "../support/ledger-faults.ts";
import { hostDeps, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { accounts, strongService } from "../support/strong.ts";

const caller: StrongCaller = { id: "spiffe://mill.skerry/app/a", token: "good-a" };
const other: StrongCaller = { id: "spiffe://mill.skerry/app/b", token: "good-b" };
const collection = accounts.name;
const first = (key: string) => ({ key, isFirst: true });
const again = (key: string) => ({ key, isFirst: false });
const put = (owner: string, ifVersion?: string | null): DocumentWrite => ({
  collection,
  id: "ann",
  do: "put",
  body: { owner },
  ...(ifVersion === undefined ? {} : { ifVersion }),
});
const remove: DocumentWrite = { collection, id: "ann", do: "delete" };
const deposit: DocumentWrite = {
  collection,
  id: "ann",
  do: "change",
  changes: [{ change: "increment", path: "/balance", by: 5 }],
};

async function start(
  t: TestContext,
  { ledger, limits }: { ledger?: Ledger; limits?: Partial<CoordinationLimits> } = {},
) {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const own = ledger ?? openTestLedger({ path: join(folder.path, "ledger.db") });
  if (!ledger) t.after(() => own.close());
  let fault: () => TransactFault | undefined = () => undefined;
  const faulty = withFaults(own, { transact: () => fault() });
  const nodes = [1, 2].map(() => {
    const strong = createStrongDocuments({
      ...hostDeps,
      ledger: strongLedgerOf(strongService(t, faulty, limits ? { limits } : {})),
    });
    strong.declare([accounts]);
    return strong;
  });
  const [here, there] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];
  return {
    here,
    there,
    ledger: own,
    fail: (with_: TransactFault) => (fault = failing(with_)),
    read: async () => (await there.read(caller, { collection, id: "ann" }))?.body,
  };
}

test("T8: what was done is not done again, at any node, and is answered as it was", async (t) => {
  const { here, there, fail, read } = await start(t);
  await here.write(caller, [put("ann")]);
  fail({ state: "lose-answer" });
  assert.equal((await here.write(caller, [deposit], first("k1"))).state, "unknown");
  const told = await there.write(caller, [deposit], again("k1"));
  assert.ok(told.state === "done" && told.isRepeated);
  const version = (await here.read(caller, { collection, id: "ann" }))?.version;
  assert.deepEqual([told.changed, told.versions, String(told.revision)], [1, [version], version]);
  // Whatever became of the document meanwhile.
  await here.write(caller, [remove]);
  assert.deepEqual(await here.write(caller, [deposit], again("k1")), told);
  assert.equal(await read(), undefined);
  // A key is one application's, and goes with one write.
  const another = await there.write(other, [put("eve")], again("k1"));
  assert.ok(another.state === "done" && !another.isRepeated);
  await assert.rejects(here.write(caller, [put("bob")], again("k1")), {
    code: "invalid-query",
    message: /^idempotency-key: another write/,
  });
});

test("T8: what was lost on its way is done by the next sending, and comes too late afterwards", async (t) => {
  const { here, there, fail, read } = await start(t);
  await here.write(caller, [put("ann")]);
  fail({ state: "lose-request" });
  assert.equal((await here.write(caller, [deposit], first("k1"))).state, "unknown");
  const told = await there.write(caller, [deposit], again("k1"));
  assert.ok(told.state === "done" && !told.isRepeated);
  assert.deepEqual(await read(), { balance: 5, owner: "ann" });

  const late = Promise.withResolvers<void>();
  fail({ state: "apply-later", release: late.promise });
  assert.equal((await here.write(caller, [remove], first("k2"))).state, "unknown");
  assert.equal((await there.write(caller, [remove], again("k2"))).state, "done");
  const back = await there.write(caller, [put("back")]);
  late.resolve();
  await here.write(caller, [put("back"), { ...put("x"), id: "behind" }]);
  assert.ok(back.state === "done");
  assert.deepEqual(await read(), { owner: "back" });
});

test("T8: a refusal bars what may still be under way, also where a document comes and goes", async (t) => {
  const { here, there, fail, read, ledger } = await start(t);
  const late = Promise.withResolvers<void>();
  fail({ state: "apply-later", release: late.promise });
  assert.equal((await here.write(caller, [put("first", null)], first("k"))).state, "unknown");
  await there.write(caller, [put("other")]);
  const refused = await there.write(caller, [put("first", null)], again("k"));
  assert.ok(refused.state === "refused" && refused.current?.body["owner"] === "other");
  // It is not there again, as it was when the first was sent.
  await there.write(caller, [remove]);
  late.resolve();
  const before = (await ledger.status()).revision;
  await here.write(caller, [{ ...put("x"), id: "behind" }]);
  assert.equal((await ledger.status()).revision, before + 1);
  assert.equal(await read(), undefined);
  const still = await here.write(caller, [put("first", null)], again("k"));
  assert.ok(still.state === "refused" && still.message === refused.message);

  // The same for what is refused by the declared fields, and for what changes nothing.
  const wrong: DocumentWrite = { ...put("x"), do: "merge", patch: { balance: 1 } } as DocumentWrite;
  await assert.rejects(here.write(caller, [wrong], again("w")), { code: "invalid-document" });
  const barred = await there.write(caller, [wrong], again("w"));
  assert.ok(barred.state === "refused" && barred.message.includes("/owner is required"));
  // And where the fields are declared otherwise by then.
  await here.write(caller, [put("ann")]);
  const later = Promise.withResolvers<void>();
  fail({ state: "apply-later", release: later.promise });
  assert.equal((await here.write(caller, [deposit], first("d"))).state, "unknown");
  const fields = [{ path: "/balance", type: "string", required: false }] as const;
  there.declare([{ ...accounts, fields }]);
  await assert.rejects(there.write(caller, [deposit], again("d")), { code: "invalid-document" });
  later.resolve();
  await here.write(caller, [{ ...put("y"), id: "behind" }]);
  assert.deepEqual(await read(), { owner: "ann" });
  const told = await there.write(caller, [deposit], again("d"));
  assert.ok(told.state === "refused" && told.message.includes("/balance"));
  await here.write(caller, [remove]);
  const nothing = await here.write(caller, [remove], again("n"));
  assert.ok(nothing.state === "done" && nothing.changed === 0 && !nothing.isRepeated);
  await here.write(caller, [put("kept")]);
  const repeated = await here.write(caller, [remove], again("n"));
  assert.ok(repeated.state === "done" && repeated.isRepeated);
  assert.deepEqual(await read(), { owner: "kept" });
});

test("T8: a batch is answered again with its versions; a first sending asks for nothing more", async (t) => {
  const { here, there } = await start(t);
  const writes: DocumentWrite[] = [
    { ...put("a"), id: "a" },
    { ...put("gone"), id: "gone", do: "delete" } as DocumentWrite,
  ];
  const done = await here.write(caller, writes, first("k"));
  const told = await there.write(caller, writes, again("k"));
  assert.ok(done.state === "done" && told.state === "done");
  assert.deepEqual(told.versions, [String(done.revision), undefined]);
  assert.deepEqual({ ...told, isRepeated: undefined }, { ...done, isRepeated: undefined });
});

test("T8: keys are known for two minutes, and not much longer", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const clock = createSimulatedClock();
  const ledger = openSqliteLedger({ ...hostDeps, clock, path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  const service = strongService(t, ledger, { clock });
  const strong = createStrongDocuments({ ...hostDeps, clock, ledger: strongLedgerOf(service) });
  strong.declare([accounts]);
  const receipts = async () => (await ledger.list("collections/accounts/receipts/")).items.length;
  await strong.write(caller, [put("a")], first("k1"));
  await clock.advance(59_000);
  await strong.write(caller, [put("b")], first("k2"));
  await clock.advance(120_000);
  assert.equal(await receipts(), 2);
  await strong.write(caller, [put("c")], first("k3"));
  await clock.advance(62_000);
  assert.equal(await receipts(), 1);
  const told = await strong.write(caller, [put("c")], again("k3"));
  assert.ok(told.state === "done" && told.isRepeated);
  await clock.advance(180_000);
  assert.equal(await receipts(), 0);
});

test("T8: a lease that receipts hang on is shared for a minute, by a few hundred, and not once it is gone", async () => {
  const clock = createSimulatedClock();
  let granted = 0;
  let isRefused = false;
  const receipts = createReceipts({
    clock,
    ledger: {
      async grant(ttlMs) {
        if (isRefused) throw unavailableError();
        return { lease: `lease-${++granted}` as LeaseId, ttlMs };
      },
    },
  });
  const many = await Promise.all(Array.from({ length: 1200 }, () => receipts.lease()));
  const sizes = [...Map.groupBy(many, (lease) => lease).values()].map(({ length }) => length);
  assert.deepEqual(sizes, [500, 500, 200]);
  await clock.advance(59_000);
  assert.equal(await receipts.lease(), "lease-3");
  await clock.advance(1000);
  assert.equal(await receipts.lease(), "lease-4");
  receipts.forget("lease-3" as LeaseId);
  await clock.advance(0);
  assert.equal(await receipts.lease(), "lease-4");
  receipts.forget("lease-4" as LeaseId);
  await clock.advance(0);
  isRefused = true;
  const refused = receipts.lease();
  // Another write finds out meanwhile that its lease is gone.
  receipts.forget("lease-3" as LeaseId);
  await assert.rejects(refused, { code: "ledger-unavailable" });
  isRefused = false;
  assert.equal(await receipts.lease(), "lease-5");
});

test("T8: how many keys are known is bounded; who is over is told that nothing was written", async (t) => {
  const { here } = await start(t, { limits: { receipts: 2, keys: 2 } });
  await here.write(caller, [put("a")], first("k1"));
  await here.write(caller, [put("b")], first("k2"));
  await assert.rejects(here.write(caller, [put("c")], first("k3")), {
    code: "coordination-busy",
    retryable: true,
  });
  // Without a key there is room, and keys are no documents: a second one fits.
  await here.write(caller, [{ ...put("c"), id: "bob" }]);
  const { documents } = await here.list(caller, { collection });
  assert.equal(documents.length, 2);
});

test("T8: a server takes nothing but receipts for receipts", () => {
  const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
  const right = [
    encodeReceipt({ of: "x", done: { changed: 1, versions: [true, null, 7] } }),
    encodeReceipt({ of: "x", refused: { id: "a", message: "m".repeat(5000) } }),
  ];
  for (const value of right) {
    assert.equal(receiptProblemOf(value), undefined);
    assert.ok(value.byteLength < 4096);
  }
  const wrong = [
    {},
    { of: "x" },
    { of: 1, done: { changed: 1, versions: [] } },
    { of: "x", done: { changed: "1", versions: [] } },
    { of: "x", done: { changed: 1, versions: ["7"] } },
    { of: "x", refused: {} },
    { of: "x", refused: { message: "m", id: 7 } },
    { of: "x", done: { changed: 1, versions: [] }, more: 1 },
    { of: "x", done: { changed: 1, versions: [] }, refused: { message: "m" } },
    "text",
    null,
  ];
  for (const value of wrong)
    assert.notEqual(receiptProblemOf(bytes(value)), undefined, JSON.stringify(value));
  assert.notEqual(receiptProblemOf(Buffer.from([0xff])), undefined);
});
