/** A conversion between two files of the sqlite engine: what the steps promise does not depend on etcd. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createSwitchingLedger, type SwitchingLedger } from "../../src/ledger/switching/index.ts";
import type { Epoch, Ledger, Revision } from "../../src/ledger/index.ts";
import { unavailable } from "../../src/ledger/checks.ts";
import { readRecord, writeRecord } from "../../src/runtime/files/index.ts";
import { hostDeps, openTestLedger } from "./ledger.ts";

export const oldPath = (folder: string) => join(folder, "old.db");
const newPath = (folder: string) => join(folder, "new.db");
const truthPath = (folder: string) => join(folder, "truth");

/** An empty ledger whose first revision is above `base`. */
export async function openTarget(
  folder: string,
  { base, epoch }: { base: Revision; epoch: Epoch },
): Promise<Ledger> {
  const path = newPath(folder);
  await openTestLedger({ path }).close();
  const db = new DatabaseSync(path);
  db.prepare("UPDATE state SET revision = ?, compacted = ?, epoch = ?").run(base, base, epoch);
  db.close();
  return openTestLedger({ path });
}

export const commitTo = (folder: string) => () => writeRecord(truthPath(folder), "new");

/** What a restarted server would open. */
export function openTruth(folder: string): Ledger & AsyncDisposable {
  const isNew = existsSync(truthPath(folder)) && readRecord(truthPath(folder)) === "new";
  return openTestLedger({ path: isNew ? newPath(folder) : oldPath(folder) });
}

export function switchingOver(ledger: Ledger | undefined): SwitchingLedger {
  const switching = createSwitchingLedger(hostDeps, {
    epoch: (ledger?.epoch ?? "unknown") as Epoch,
    absent: () => unavailable("no engine is open"),
  });
  if (ledger) switching.open(ledger);
  return switching;
}
