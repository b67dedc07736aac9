/**
 * A cell that lost the majority of its servers, made whole again from one of them: what that member
 * has is read by etcd itself, made a cluster of one on a copy, and becomes a SQLite ledger with a
 * history of its own. A member that returns later is of the old history and steps down.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createTally } from "../backup/index.ts";
import { ledgerCommonName } from "../identity/index.ts";
import {
  defaultTimers,
  detectEtcd,
  etcdCommand,
  etcdUrl,
  isStateKey,
  openEtcdLedger,
  readSqliteLedger,
  restoreSqliteLedger,
  type EtcdConnectOptions,
  type EtcdLedger,
  type KeyValue,
} from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { exited } from "../runtime/child/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { freePort } from "../runtime/listen/index.ts";
import { databaseFiles } from "../runtime/sqlite/index.ts";
import { etcdFiles } from "./etcd-files.ts";
import { etcdBinary, removeMembers } from "./etcd-runner.ts";
import { withKeeperHere } from "./keeper-here.ts";
import { generationHere, putInPlace } from "./ledger-in-place.ts";
import { connecting, type RecoverPlan } from "./recover-plan.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

export type Recovered = {
  readonly node: string;
  readonly keys: number;
  readonly lastRevision: number;
  readonly revision: number;
  readonly epoch: string;
  readonly aside: string | undefined;
};

const readyMs = 60_000;
const agentGraceMs = 15_000;
const pageKeys = 500;

/**
 * Does it: the agent and etcd of this machine are stopped, its pods are not. Throws `etcd-missing`,
 * `etcd-not-ready`, `disk-full`, `backup-damaged`.
 */
export async function recoverCell(
  deps: Deps & { searchPath: string; tell: (step: string) => void },
  plan: RecoverPlan,
): Promise<Recovered> {
  const { dataDir, node } = plan;
  deps.tell("stopping this machine's agent and etcd");
  await stopHere(deps, dataDir);
  const copy = join(dataDir, "recovering");
  const restored = join(dataDir, "ledger.db.restored");
  const clean = () => {
    for (const path of [copy, ...databaseFiles(restored)])
      rmSync(path, { recursive: true, force: true });
  };
  clean();
  try {
    deps.tell("reading what this member has");
    ensureDirectory(copy);
    cpSync(etcdFiles(dataDir).folder, join(copy, "etcd"), { recursive: true });
    const made = await withMember(deps, plan, join(copy, "etcd"), (ledger) =>
      readInto(deps, ledger, { path: restored, generationBefore: generationHere(dataDir) }),
    );
    deps.tell("putting it in place");
    const aside = putInPlace(deps, { dataDir, record: node, restored, ...made });
    return { node: node.node, ...made, aside };
  } finally {
    clean();
  }
}

async function stopHere(deps: Deps, dataDir: string): Promise<void> {
  await withKeeperHere(deps, dataDir, async (keeper) => {
    await keeper.stopAgent({ graceMs: agentGraceMs });
    await removeMembers(keeper.processes);
  });
}

/** Runs etcd on a copy of the member's data, as a cluster of one, for as long as `work` takes. */
async function withMember<T>(
  deps: Deps & { searchPath: string },
  { dataDir, node, record }: RecoverPlan,
  folder: string,
  work: (ledger: EtcdLedger) => Promise<T>,
): Promise<T> {
  const binary = etcdBinary(deps.searchPath) ?? "etcd";
  const version = await detectEtcd(binary);
  const [clientPort, peerPort] = [await freePort(node.host), await freePort(node.host)];
  const peers = [{ name: record.member, peerUrl: etcdUrl(node.host, peerPort) }];
  const { args, env } = etcdCommand(
    {
      name: record.member,
      dataDir: folder,
      host: node.host,
      clientPort,
      peerPort,
      files: etcdFiles(dataDir).tls,
      peerCommonName: ledgerCommonName,
      initial: { state: "new", token: record.token, peers },
      timers: defaultTimers,
      forceNewCluster: true,
    },
    version,
  );
  const child = spawn(binary, args, { env, stdio: "ignore" });
  const failed = new Promise<never>((_, reject) => child.once("error", reject));
  try {
    const options = connecting(dataDir, node, [
      { name: record.member, host: node.host, port: clientPort },
    ]);
    const ledger = await Promise.race([openWhenReady(deps, child, record.member, options), failed]);
    try {
      return await work(ledger);
    } finally {
      await ledger.close();
    }
  } finally {
    child.kill("SIGKILL");
    await exited(child);
  }
}

async function openWhenReady(
  deps: Deps,
  child: ChildProcess,
  name: string,
  options: EtcdConnectOptions,
): Promise<EtcdLedger> {
  const giveUpMs = deps.clock.monotonicMs() + readyMs;
  for (;;) {
    try {
      return await openEtcdLedger({ ...deps, log: silentLog }, { ...options, name });
    } catch (cause) {
      const isOver = child.exitCode !== null || deps.clock.monotonicMs() > giveUpMs;
      if (isOver || !(cause instanceof SkerryError && cause.retryable)) {
        throw new SkerryError({
          code: "etcd-not-ready",
          message: "etcd did not start on what this member has",
          hint: "its data may be damaged: recover on another server, or restore a backup",
          cause,
        });
      }
      await deps.clock.sleep(200);
    }
  }
}

/** Everything that is the cell's state, at one revision, read back and compared. */
async function readInto(
  deps: Deps,
  ledger: EtcdLedger,
  options: { path: string; generationBefore: number },
): Promise<{ keys: number; lastRevision: number; revision: number; epoch: string }> {
  const { revision: last } = await ledger.list("", { limit: 1 });
  const restore = restoreSqliteLedger(deps, { ...options, revision: last });
  const read = createTally();
  try {
    for (let after = ""; ;) {
      const page = await ledger.list("", { limit: pageKeys, atRevision: last, after });
      const state: readonly KeyValue[] = page.items.filter(({ key }) => isStateKey(key));
      for (const one of state) read.add(one);
      restore.add(state);
      after = page.items.at(-1)?.key ?? after;
      if (!page.more) break;
    }
    const { epoch, revision } = restore.finish();
    const back = createTally();
    for (const page of readSqliteLedger(options.path)) for (const one of page) back.add(one);
    const { keys, sha256 } = read.content();
    if (back.content().sha256 !== sha256 || !existsSync(options.path)) {
      throw new SkerryError({
        code: "backup-damaged",
        message: "what was written is not what was read",
        hint: "the disk or the memory of this machine may be failing",
      });
    }
    return { keys, lastRevision: last, revision, epoch };
  } catch (error) {
    restore.abandon();
    throw error;
  }
}
