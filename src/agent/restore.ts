/**
 * A backup made into a server of its cell, on a machine that is stopped or new. First a plan that
 * changes nothing; then the files, in an order that a power cut may interrupt anywhere: the node's
 * record, which makes it a server, comes last, and running it again finishes it. What stood in the
 * ledger's place is moved aside, never removed.
 */
import { existsSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  lookIntoFolder,
  readManifest,
  type KeptFile,
  type Manifest,
  type RecoveryKey,
} from "../backup/index.ts";
import type { Clock } from "../lib/clock.ts";
import { formatDuration } from "../lib/duration.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { ensureDirectory, readFileIfExists, writeFileAtomic } from "../runtime/files/index.ts";
import { isHubFolder } from "../runtime/local/index.ts";
import { databaseFiles } from "../runtime/sqlite/index.ts";
import { nodeRecordOf, readNodeRecord, resolveNodeRecord, type NodeRecord } from "./config.ts";
import { removeMembers } from "./etcd-runner.ts";
import { readKeyHere } from "./kept-backups.ts";
import { withKeeperHere } from "./keeper-here.ts";
import { generationHere, ledgerHere, putInPlace } from "./ledger-in-place.ts";
import { backupsFolder, identityFolder, ledgerFile } from "./data-folder.ts";
import { restoreLedgerFile } from "./restore-ledger.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

export type RestoreOptions = {
  readonly dataDir: string;
  /** A file, the id of a backup in this data folder, or `latest`. */
  readonly backup: string;
  /** Content of the file with the recovery key; absent: this server's own. */
  readonly key: string | undefined;
  /** A new machine's name and address; absent: those of the server that made the backup. */
  readonly node: string | undefined;
  readonly host: string | undefined;
};

export type RestorePlan = {
  readonly manifest: Manifest;
  readonly file: string;
  readonly dataDir: string;
  /** What this machine is afterwards. */
  readonly record: NodeRecord;
  /** What will happen, a sentence each. */
  readonly steps: readonly string[];
  readonly keys: readonly RecoveryKey[];
};

export type Restored = {
  readonly manifest: Manifest;
  readonly epoch: string;
  /** Where the restored history begins. */
  readonly revision: number;
  readonly record: NodeRecord;
  /** Where the ledger that was here is now. */
  readonly aside: string | undefined;
};

/**
 * Says what a restore would do. Throws `node-running`, `restore-refused`, `backup-unknown`,
 * `backup-wrong-key`, `recovery-key-missing`, `backup-damaged`, `backup-too-new`.
 */
export async function planRestore(deps: Deps, options: RestoreOptions): Promise<RestorePlan> {
  const { dataDir } = options;
  await refuseLiving(deps, dataDir);
  const file = await fileOf(options);
  const keys = [readKeyHere(dataDir, options.key)];
  const manifest = await readManifest(file, keys);
  const existing = readNodeRecord(dataDir);
  if (existing && existing.cell !== manifest.cell) {
    throw new SkerryError({
      code: "restore-refused",
      message: `${dataDir} belongs to cell "${existing.cell}", and the backup is of cell "${manifest.cell}"`,
      hint: "restore into another folder: --data DIR",
    });
  }
  const record = recordAfter(manifest, existing, options);
  const before = ledgerHere(dataDir);
  const ageMs = Math.max(0, deps.clock.wallMs() - manifest.atMs);
  const { keys: count, revision } = manifest.ledger;
  return {
    manifest,
    file,
    dataDir,
    record,
    keys,
    steps: [
      `the ledger of cell ${manifest.cell} becomes what it was at revision ${revision}, ${formatDuration(ageMs)} ago (${count} keys); everything written since is lost`,
      ...(before === undefined
        ? []
        : [`the ledger that is here (${before}) is moved aside and kept`]),
      existing
        ? existing.role === "worker"
          ? `${existing.node}, a worker until now, becomes the server of the cell`
          : `${existing.node} stays the server, alone: other servers join again`
        : `this machine becomes ${record.node}, the server of the cell, at ${record.host}`,
      "history gets a new epoch: nodes read everything anew, what runs and is declared in the backup goes on, the rest stops",
    ],
  };
}

/** Does what the plan says. Throws as `planRestore`, and `disk-full`. */
export async function restoreCell(deps: Deps, plan: RestorePlan): Promise<Restored> {
  const { dataDir, record } = plan;
  // Somebody may have started it between the two.
  await refuseLiving(deps, dataDir);
  ensureDirectory(dataDir);
  const restored = `${ledgerFile(dataDir)}.restored`;
  for (const path of databaseFiles(restored)) rmSync(path, { force: true });
  const files: KeptFile[] = [];
  const { manifest, epoch, revision } = await restoreLedgerFile(deps, {
    backup: plan.file,
    keys: plan.keys,
    ledgerPath: restored,
    generationBefore: generationHere(dataDir),
    onFile: (file) => files.push(file),
  });
  try {
    refuseOtherAuthority(dataDir, files);
  } catch (error) {
    rmSync(restored, { force: true });
    throw error;
  }
  for (const { name, content } of files) {
    const path = join(dataDir, name);
    // Tokens that were spent since stay spent.
    if (name.startsWith("tokens/") && existsSync(path)) continue;
    ensureDirectory(dirname(path));
    writeFileAtomic(path, content);
  }
  // The keeper holds etcd beside the pods, and leaves it running when the agent stops.
  await withKeeperHere(deps, dataDir, ({ processes }) => removeMembers(processes));
  const aside = putInPlace(deps, { dataDir, record, restored, epoch, revision });
  return { manifest, epoch, revision, record, aside };
}

async function refuseLiving(deps: Deps, dataDir: string): Promise<void> {
  if (isHubFolder(dataDir)) {
    throw new SkerryError({
      code: "restore-refused",
      message: `${dataDir} is the folder of a hub`,
      hint: "name a node's folder, or a new one, with --data",
    });
  }
  const found = await withKeeperHere(deps, dataDir, (keeper) => keeper.status());
  if (!found || found.agent.state === "none") return;
  throw new SkerryError({
    code: "node-running",
    message: `the agent of ${dataDir} runs, and a living ledger is not overwritten`,
    hint: `stop it first; its pods may go on: skerry down --pods keep --data ${dataDir}`,
  });
}

async function fileOf({ dataDir, backup }: RestoreOptions): Promise<string> {
  if (existsSync(resolve(backup)) && backup.includes(".")) return resolve(backup);
  const folder = backupsFolder(dataDir);
  const kept = await lookIntoFolder({ log: silentLog }, folder);
  const meta = backup === "latest" ? kept[0] : kept.find(({ id }) => id === backup);
  if (meta) return meta.path;
  throw new SkerryError({
    code: "backup-unknown",
    message: `${backup} is neither a file nor a backup in ${folder}`,
    hint: "skerry backup list tells which there are, and where; copy the .age file here and name it",
  });
}

function recordAfter(
  manifest: Manifest,
  existing: NodeRecord | undefined,
  { dataDir, node, host }: RestoreOptions,
): NodeRecord {
  const server = nodeRecordOf(manifest.node, manifest.id);
  const { serverApi: _, ...kept } = existing ?? server;
  const { hub = server.hub, backupEvery = server.backupEvery } = kept;
  const cellWide = {
    ...(hub === undefined ? {} : { hub }),
    ...(backupEvery === undefined ? {} : { backupEvery }),
  };
  if (existing) {
    const given = { dataDir, ...(node && { node }), ...(host && { host }) };
    return { ...resolveNodeRecord(given, kept), ...cellWide, role: "server" };
  }
  return {
    ...kept,
    role: "server",
    ...(node === undefined ? {} : { node }),
    ...(host === undefined ? {} : { host }),
  };
}

/** Another key of the same cell would cut off every machine that joined under the one that is here. */
function refuseOtherAuthority(dataDir: string, files: readonly KeptFile[]): void {
  const inBackup = files.find(({ name }) => name === "identity/ca.json");
  const here = readFileIfExists(join(identityFolder(dataDir), "ca.json"));
  const anchorIn = (content: Uint8Array) =>
    /"anchorPem":"([^"]+)"/.exec(Buffer.from(content).toString())?.[1];
  if (!inBackup) {
    throw new SkerryError({
      code: "backup-damaged",
      message: "the backup holds no authority of the cell",
      hint: "take another backup",
    });
  }
  if (!here || anchorIn(here) === anchorIn(inBackup.content)) return;
  throw new SkerryError({
    code: "restore-refused",
    message: `${dataDir} holds another authority of the same name: the backup is of another cell`,
    hint: "restore into another folder: --data DIR",
  });
}
