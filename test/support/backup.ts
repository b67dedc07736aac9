/** Backups for tests: a server's parts in one process, on a SQLite ledger, with places in folders. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { sharedOver, sourceOf } from "../../src/agent/cell-backups.ts";
import { writeNodeRecord, type NodeRecord } from "../../src/agent/config.ts";
import { restoreLedgerFile } from "../../src/agent/restore-ledger.ts";
import {
  defaultRetention,
  holderOver,
  openBackupFolder,
  sealBackup,
  serveCopies,
  startBackups,
  type BackupFolder,
  type Backups,
  type BackupsDeps,
  type Holder,
  type Retention,
  type Schedule,
} from "../../src/backup/index.ts";
import { createAuthority } from "../../src/identity/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createRouter, type Link } from "../../src/transport/index.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";

export const recordOf = (node: string, cell = "mill"): NodeRecord => ({
  cell,
  node,
  role: "server",
  host: "127.0.44.11",
  ports: {
    api: 7443,
    mesh: 7444,
    peers: 7445,
    gateway: 7480,
    mqtt: 8883,
    ingress: 8080,
    ledger: 7446,
    ledgerPeers: 7447,
  },
  telemetry: false,
  evict: "careful",
});

/** A folder that belongs to this node. */
export function writeNode(dataDir: string, record: NodeRecord): void {
  mkdirSync(dataDir, { recursive: true });
  writeNodeRecord(dataDir, record);
}

/** What a server's folder has beside its ledger. */
export async function writeAuthority(dataDir: string): Promise<void> {
  mkdirSync(join(dataDir, "tokens"), { recursive: true });
  await createAuthority(
    { random: systemRandom, nowMs: () => systemClock.wallMs() },
    { folder: join(dataDir, "identity"), trustDomain: "mill.skerry" },
  );
  writeRecord(join(dataDir, "tokens", "abc.json"), { id: "abc" });
}

export const openFolder = (folder: string, retention: Partial<Retention> = {}) =>
  openBackupFolder(
    { log: silentLog },
    { folder, retention: { ...defaultRetention, ...retention } },
  );

/** Another machine's folder, asked as over a link. `fault` runs before each request. */
export function holderIn(
  name: string,
  folder: BackupFolder,
  options: {
    fault?: (method: string) => void;
    refusal?: () => string | undefined;
    isServer?: () => boolean;
  } = {},
): Holder {
  const router = createRouter();
  serveCopies(router, {
    async folderOf(peer) {
      if (options.isServer?.() ?? true) return folder;
      throw new SkerryError({ code: "forbidden", message: `${peer.id} is no server` });
    },
    refusal: options.refusal ?? (() => undefined),
  });
  const peer = {
    id: "spiffe://mill.skerry/node/n1",
    trustDomain: "mill.skerry",
    path: ["node", "n1"],
  };
  const link = {
    async request(method: string, body: Uint8Array) {
      options.fault?.(method);
      const handler = router.find(method);
      if (!handler) throw new Error(`nobody answers ${method}`);
      const signal = new AbortController().signal;
      return (await handler({ peer, link, body, signal } as never)) as Uint8Array;
    },
  } as unknown as Link;
  return holderOver(name, link);
}

export function startTestBackups(
  ledger: Ledger,
  options: {
    dataDir: string;
    folder: BackupFolder;
    node?: string;
    schedule?: Schedule;
    tendMs?: number;
  } & Partial<Pick<BackupsDeps, "peers" | "hub" | "isGone" | "diskShort" | "workbench">>,
): Backups {
  const { dataDir, folder, node = "n1" } = options;
  const random = systemRandom;
  const nowMs = () => systemClock.wallMs();
  const workFolder = join(dataDir, "backups", "work");
  let scratch = 0;
  return startBackups(
    {
      clock: systemClock,
      random,
      log: silentLog,
      nowMs,
      folder,
      source: sourceOf({ ledger, dataDir, record: recordOf(node) }),
      workbench: options.workbench ?? {
        seal: (job) => sealBackup({ random }, job),
        prove: async (path, keys) =>
          (
            await restoreLedgerFile(
              { random },
              { backup: path, keys, ledgerPath: join(workFolder, `scratch-${scratch++}.db`) },
            )
          ).manifest,
      },
      shared: sharedOver({ ledger, random, dataDir, node, nowMs }),
      peers: options.peers ?? (() => []),
      hub: options.hub ?? (() => undefined),
      isGone: options.isGone ?? (() => false),
      diskShort: options.diskShort ?? (() => undefined),
    },
    {
      cell: "mill",
      node,
      version: "test",
      workFolder,
      schedule: options.schedule,
      peerCopies: 2,
      tendMs: options.tendMs ?? 60_000,
    },
  );
}
