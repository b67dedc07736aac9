/** A server whose ledger is gone from its disk must not begin another one: that would be a second cell. */
import { strict as assert } from "node:assert";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readNodeRecord, resolveNodeRecord, writeNodeRecord } from "../../src/agent/config.ts";
import { noteLedger, standDown } from "../../src/agent/server-role.ts";
import { writeLedgerRecord, type LedgerRecord } from "../../src/ledger/servers/index.ts";

const member: LedgerRecord = {
  ...{ version: 1, engine: "etcd", state: "member", token: "t", member: "n3" },
  ...{ clientPort: 7446, peersPort: 7447, epoch: "e", endpoints: [] },
  initial: { cluster: "existing", members: [] },
};

test("L15: a server that had a ledger and has none goes on as a worker; one that never had founds its own", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-gone-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const kind of ["sqlite", "etcd"]) {
    const dataDir = join(folder, kind);
    mkdirSync(dataDir);
    const resolve = () =>
      resolveNodeRecord({ dataDir, cell: "shop", node: "n3" }, readNodeRecord(dataDir));
    const first = resolve();
    writeNodeRecord(dataDir, first);
    // Cut short before there was a ledger: the next start founds it.
    assert.equal(standDown(dataDir, resolve()).role, "server");
    assert.equal(noteLedger(dataDir, first), first);

    if (kind === "sqlite") writeFileSync(join(dataDir, "ledger.db"), "");
    else writeLedgerRecord(dataDir, member);
    assert.equal(noteLedger(dataDir, first).hadLedger, true);
    assert.equal(standDown(dataDir, resolve()).role, "server");

    rmSync(join(dataDir, kind === "sqlite" ? "ledger.db" : "ledger"), { recursive: true });
    const worker = standDown(dataDir, resolve());
    assert.equal(worker.role, "worker");
    writeNodeRecord(dataDir, worker);
    assert.equal(resolve().role, "worker");
    // Made a server again by whoever puts a ledger there.
    const again = { ...worker, role: "server" as const };
    assert.equal(standDown(dataDir, again).role, "server");
  }
});
