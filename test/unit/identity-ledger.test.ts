/** The ledger authority, and the cell's authorities on their way to a new server. */
import { strict as assert } from "node:assert";
import { X509Certificate } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  acceptHandover,
  createAuthority,
  dropAuthorities,
  ensureLedgerAuthority,
  ledgerLeafIsDue,
  openAuthority,
  openLedgerAuthority,
  readHandover,
} from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { dayMs, temporaryAuthority, temporaryFolder, testNowMs } from "../support/identity.ts";

const trustDomain = "cell-a.skerry";
const deps = { random: systemRandom, nowMs: () => testNowMs };

async function server(domain = trustDomain) {
  const folder = temporaryFolder();
  const cell = await createAuthority(deps, { folder: folder.path, trustDomain: domain });
  const ledger = await ensureLedgerAuthority(deps, { folder: folder.path, trustDomain: domain });
  return { folder, cell, ledger };
}

test("I20: a ledger leaf names the ledger and its server, serves and asks, and holds at any clock", async () => {
  const { folder, ledger } = await server();
  using _ = folder;
  const leaf = await ledger.issue({ addresses: ["10.0.0.1", "fd00::1"] });
  const read = new X509Certificate(leaf.chainPem);
  assert.equal(read.subject, "CN=ledger");
  assert.match(read.subjectAltName ?? "", /DNS:ledger\.cell-a\.skerry/);
  assert.match(read.subjectAltName ?? "", /IP Address:10\.0\.0\.1/);
  assert.deepEqual(read.keyUsage, ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
  assert.equal(read.validFromDate.getTime(), 0);
  const anchor = new X509Certificate(ledger.anchorPem);
  assert.ok(read.verify(anchor.publicKey));
  assert.equal(anchor.validFromDate.getTime(), 0);
});

test("I20: the ledger's authority is not the cell's, and the same after a restart", async () => {
  const { folder, cell, ledger } = await server();
  using _ = folder;
  assert.notEqual(cell.trust.anchorsPem[0], ledger.anchorPem);
  const again = await ensureLedgerAuthority(deps, { folder: folder.path, trustDomain });
  assert.equal(again.anchorPem, ledger.anchorPem);
  assert.equal(openLedgerAuthority(deps, folder.path)?.anchorPem, ledger.anchorPem);
});

test("I20: a leaf is renewed with its key from half of its life on, and for another address", async () => {
  const { folder, ledger } = await server();
  using _ = folder;
  const leaf = await ledger.issue({ addresses: ["10.0.0.1"] });
  const due = (address: string, days: number) =>
    ledgerLeafIsDue(
      ledger,
      { chainPem: leaf.chainPem, addresses: [address] },
      testNowMs + days * dayMs,
    );
  assert.deepEqual(
    [due("10.0.0.1", 0), due("10.0.0.1", 364), due("10.0.0.1", 366), due("10.0.0.2", 0)],
    [false, false, true, true],
  );
  const renewed = await ledger.issue({ addresses: ["10.0.0.1"], keyPem: leaf.keyPem });
  assert.equal(renewed.keyPem, leaf.keyPem);
  const other = await server();
  using __ = other.folder;
  assert.ok(
    ledgerLeafIsDue(other.ledger, { chainPem: leaf.chainPem, addresses: ["10.0.0.1"] }, testNowMs),
    "a leaf of another authority",
  );
});

test("I21: the authorities arrive whole and private, and can be dropped", async () => {
  const { folder, cell, ledger } = await server();
  using _ = folder;
  using target = temporaryFolder();
  acceptHandover(target.path, readHandover(folder.path), cell.trust);
  assert.equal(openAuthority(deps, target.path)?.pin, cell.pin);
  assert.equal(openLedgerAuthority(deps, target.path)?.anchorPem, ledger.anchorPem);
  for (const file of readdirSync(target.path))
    assert.equal(statSync(join(target.path, file)).mode & 0o777, 0o600, file);
  dropAuthorities(target.path);
  assert.deepEqual(readdirSync(target.path), []);
  assert.throws(() => readHandover(target.path), { code: "not-a-server" });
});

test("I21: nobody hands over a key that the node does not trust already", async () => {
  const { folder, cell } = await server();
  using _ = folder;
  const impostor = await server();
  using __ = impostor.folder;
  const elsewhere = await temporaryAuthority("cell-b.skerry");
  using target = temporaryFolder();
  const honest = readHandover(folder.path);
  const theirs = readHandover(impostor.folder.path);
  const refused = { code: "invalid-handover" };
  assert.throws(() => acceptHandover(target.path, theirs, cell.trust), refused);
  assert.throws(() => acceptHandover(target.path, honest, elsewhere.trust), refused);
  const mixed = { ...honest, cell: { ...honest.cell, keyPem: theirs.cell.keyPem } };
  assert.throws(() => acceptHandover(target.path, mixed, cell.trust), refused);
  assert.deepEqual(readdirSync(target.path), []);
});
