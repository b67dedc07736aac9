/** The fleet as earlier versions kept it in the data folder, taken over once. */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readFolderTokens } from "../identity/index.ts";
import type { Ledger } from "../ledger/index.ts";
import { readRecord, syncDirectory } from "../runtime/files/index.ts";
import { takeOverFleet, type CellRecord } from "./fleet-records.ts";

/**
 * Cells and tokens go into the ledger, and their files aside; what is cut short is done again at the
 * next start. Throws `file-torn` when the record of cells is damaged, and what the ledger throws.
 */
export async function takeOverFleetFiles(ledger: Ledger, dataDir: string): Promise<void> {
  const files = ["cells.json", "tokens"].map((name) => join(dataDir, name));
  const [cellsPath = "", tokensPath = ""] = files;
  if (!files.some((path) => existsSync(path))) return;
  const stored = (readRecord(cellsPath) ?? {}) as Record<string, CellRecord>;
  await takeOverFleet(ledger, {
    cells: Object.entries(stored).map(([trustDomain, record]) => ({ trustDomain, ...record })),
    tokens: readFolderTokens(tokensPath),
  });
  for (const path of files.filter((one) => existsSync(one))) {
    rmSync(`${path}.migrated`, { recursive: true, force: true });
    renameSync(path, `${path}.migrated`);
  }
  syncDirectory(dataDir);
}
