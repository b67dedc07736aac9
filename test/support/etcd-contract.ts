/**
 * The ledger's contract on etcd. Each check has an empty ledger on the same
 * members: all keys of the one before are deleted, the engine's own included, so that history begins
 * anew wherever etcd's revisions are by then.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after } from "node:test";
import { ledgerContract, type LedgerFixture } from "../contract/ledger.ts";
import { memoryFolder, startEtcd, type TestEtcd } from "./etcd.ts";

async function fixtureOf(etcd: TestEtcd): Promise<LedgerFixture> {
  etcd.etcdctl(["del", "--from-key", ""]);
  let ledger = await etcd.openLedger();
  const folder = await memoryFolder();
  return {
    ledger,
    folder: folder.path,
    // Etcd grants less, but a machine that stands still for so long must not fail a check.
    ttlMs: 2_000,
    async reopen() {
      await ledger.close();
      for (const member of etcd.members) await member.kill();
      await Promise.all(etcd.members.map((member) => member.start()));
      ledger = await etcd.openLedger();
      return ledger;
    },
    openCopy: (path) => openCopy(path, { subnet: etcd.subnet, folder: join(folder.path, "copy") }),
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A snapshot in a new cluster of one member. */
async function openCopy(path: string, options: { subnet: string; folder: string }) {
  const etcd = await startEtcd({ ...options, firstHost: 101, start: false, token: "copy" });
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

/** Runs the contract on one cluster of so many members, which is stopped afterwards. */
export function etcdContract(engine: string, options: { subnet: string; members: number }): void {
  const folder = memoryFolder();
  const started = folder.then(({ path }) => startEtcd({ ...options, folder: path }));
  started.catch(() => {});
  after(async () => {
    await (await started)[Symbol.asyncDispose]();
    await (await folder)[Symbol.asyncDispose]();
  });
  ledgerContract(engine, async () => fixtureOf(await started));
}
