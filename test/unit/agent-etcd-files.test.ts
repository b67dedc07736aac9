/** Files of a server's ledger. */
import { strict as assert } from "node:assert";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { putSqliteAside, removeLedgerFiles } from "../../src/agent/etcd-files.ts";

test("the former engine's file is put aside where the ledger's folder is a disk of its own", () => {
  const dataDir = mkdtempSync(join(tmpdir(), "skerry-files-"));
  // A file system of its own on every Linux: nothing can be renamed into it from elsewhere.
  const disk = mkdtempSync("/dev/shm/skerry-files-");
  try {
    symlinkSync(disk, join(dataDir, "ledger"));
    writeFileSync(join(dataDir, "ledger.db"), "objects");
    writeFileSync(join(dataDir, "ledger.db-wal"), "more");
    putSqliteAside(dataDir);
    assert.equal(readFileSync(join(dataDir, "ledger-before-etcd.db"), "utf8"), "objects");
    assert.equal(readFileSync(join(dataDir, "ledger-before-etcd.db-wal"), "utf8"), "more");
    assert.ok(!readdirSync(dataDir).includes("ledger.db"));
    putSqliteAside(dataDir);
    assert.equal(readFileSync(join(dataDir, "ledger-before-etcd.db"), "utf8"), "objects", "twice");
    removeLedgerFiles(dataDir);
    assert.deepEqual(readdirSync(dataDir), ["ledger"]);
  } finally {
    for (const folder of [dataDir, disk]) rmSync(folder, { recursive: true, force: true });
  }
});
