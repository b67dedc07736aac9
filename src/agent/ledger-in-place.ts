/**
 * A file put where a node's ledger stands, by a restore or a recovery: what was there is moved aside,
 * the cell is told in the authority's name, and the node's record comes last, so that a power cut
 * anywhere leaves what running it again finishes.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openAuthority, signHistory, type SignedHistory } from "../identity/index.ts";
import { inspectSqliteLedger } from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import { explain, SkerryError } from "../lib/errors.ts";
import { generationOf } from "../lib/history.ts";
import type { Random } from "../lib/random.ts";
import { ensureDirectory, readRecord, syncDirectory, writeRecord } from "../runtime/files/index.ts";
import { databaseFiles } from "../runtime/sqlite/index.ts";
import { writeNodeRecord, type NodeRecord } from "./config.ts";
import { historyPath, identityFolder, ledgerFile } from "./data-folder.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

/** Of a cell with several servers: the members' data. */
const membersFolder = (dataDir: string) => join(dataDir, "ledger");

/**
 * Makes a ledger's file that of this node, which is the only server from now on. Answers where the
 * ledger that was there is now. Nothing may run here.
 */
export function putInPlace(
  deps: Deps,
  made: { dataDir: string; record: NodeRecord; restored: string; epoch: string; revision: number },
): string | undefined {
  const { dataDir, record } = made;
  const aside = moveAside(dataDir, deps.clock.wallMs());
  renameSync(made.restored, ledgerFile(dataDir));
  // Left by the one who read it back; all that it holds is in the file.
  for (const path of databaseFiles(made.restored)) rmSync(path, { force: true });
  claimHistory(deps, made);
  syncDirectory(dataDir);
  writeNodeRecord(dataDir, record);
  return aside;
}

function moveAside(dataDir: string, nowMs: number): string | undefined {
  const stamp = new Date(nowMs).toISOString().replaceAll(/[-:.]/g, "");
  const aside = join(dataDir, `ledger-before-restore-${stamp}`);
  const found = [...databaseFiles(ledgerFile(dataDir)), membersFolder(dataDir)].filter((path) =>
    existsSync(path),
  );
  if (found.length === 0) return undefined;
  ensureDirectory(aside);
  for (const path of found) renameSync(path, join(aside, path.slice(dataDir.length + 1)));
  syncDirectory(aside);
  return aside;
}

/** Says to every node of the cell that this history holds, in the authority's name. */
function claimHistory(
  deps: Deps,
  made: { dataDir: string; record: NodeRecord; epoch: string; revision: number },
): void {
  const { dataDir, record, epoch, revision } = made;
  const nowMs = () => deps.clock.wallMs();
  const authority = openAuthority({ random: deps.random, nowMs }, identityFolder(dataDir));
  if (!authority) throw new SkerryError({ code: "internal", message: "restored no authority" });
  const claim = {
    trustDomain: authority.trustDomain,
    generation: generationOf(revision),
    epoch,
    atMs: Math.floor(nowMs()),
    node: record.node,
    api: `${record.host}:${record.ports.api}`,
  };
  writeRecord(historyPath(dataDir), signHistory(authority.signer.key.keyPem, claim));
}

/** Of the latest history that this folder knows of. */
export function generationHere(dataDir: string): number {
  const told = readRecord(historyPath(dataDir)) as SignedHistory | undefined;
  const held = Number.isSafeInteger(told?.claim.generation) ? (told?.claim.generation ?? 0) : 0;
  try {
    return Math.max(held, generationOf(inspectSqliteLedger(ledgerFile(dataDir))?.revision ?? 0));
  } catch {
    // A ledger that cannot be read is why people restore.
    return held;
  }
}

/** The ledger that is there, in words; undefined when there is none. */
export function ledgerHere(dataDir: string): string | undefined {
  const members = existsSync(membersFolder(dataDir)) ? "data of an etcd member" : undefined;
  try {
    const found = inspectSqliteLedger(ledgerFile(dataDir));
    return found === undefined
      ? members
      : `revision ${found.revision}, ${found.keys} keys${members === undefined ? "" : `, ${members}`}`;
  } catch (error) {
    return `it cannot be read: ${explain(error)}`;
  }
}
