/**
 * The contract on etcd, with one member and with three. Each check has an empty ledger on the same
 * members: all keys of the one before are deleted, the engine's own included, so that history begins
 * anew wherever etcd's revisions are by then.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after } from "node:test";
import { memoryFolder, startEtcd, type TestEtcd } from "../support/etcd.ts";
import { ledgerContract, type LedgerFixture } from "./ledger.ts";

async function fixtureOf(etcd: TestEtcd): Promise<LedgerFixture> {
  etcd.etcdctl(["del", "--from-key", ""]);
  let ledger = await etcd.openLedger();
  const folder = await memoryFolder();
  return {
    ledger,
    folder: folder.path,
    ttlMs: 1_000,
    async reopen() {
      await ledger.close();
      for (const member of etcd.members) await member.kill();
      await Promise.all(etcd.members.map((member) => member.start()));
      ledger = await etcd.openLedger();
      return ledger;
    },
    openCopy: (path) => openCopy(path, join(folder.path, "copy")),
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A snapshot in a new cluster of one member. */
async function openCopy(path: string, folder: string) {
  const etcd = await startEtcd({ subnet: "127.0.32", folder, start: false, token: "copy" });
  const [member] = etcd.members;
  if (!member) throw new Error("a cluster has a member");
  execFileSync(
    "etcdctl",
    [
      ...["snapshot", "restore", path, "--data-dir", member.dataDir, "--name", member.name],
      ...["--initial-cluster", `${member.name}=${member.peerUrl}`],
      ...["--initial-cluster-token", etcd.token],
      ...["--initial-advertise-peer-urls", member.peerUrl],
    ],
    { env: { ...process.env, ETCDCTL_API: "3" }, stdio: "pipe" },
  );
  await member.start();
  const ledger = await etcd.openLedger();
  return Object.assign(ledger, {
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await etcd[Symbol.asyncDispose]();
    },
  });
}

for (const members of [1, 3]) {
  const folder = memoryFolder();
  const started = folder.then(({ path }) =>
    startEtcd({ subnet: `127.0.31`, firstHost: members === 1 ? 1 : 11, folder: path, members }),
  );
  started.catch(() => {});
  after(async () => {
    await (await started)[Symbol.asyncDispose]();
    await (await folder)[Symbol.asyncDispose]();
  });
  ledgerContract(members === 1 ? "etcd" : `etcd of ${members} members`, async () =>
    fixtureOf(await started),
  );
}
