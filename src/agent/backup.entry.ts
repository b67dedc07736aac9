/** The backup thread: seals a dump of the ledger, and proves that the result can be restored. */
import { rmSync } from "node:fs";
import { sealBackup } from "../backup/index.ts";
import { systemRandom as random } from "../runtime/clock/index.ts";
import { databaseFiles } from "../runtime/sqlite/index.ts";
import { serveThread } from "../runtime/thread/index.ts";
import type { BackupMethods } from "./backup.ts";
import { restoreLedgerFile } from "./restore-ledger.ts";

const removeScratch = (path: string) => {
  for (const file of databaseFiles(path)) rmSync(file, { force: true });
};

serveThread({
  "backup.seal": (job) => sealBackup({ random }, job),
  async "backup.prove"({ path, keys, scratch }) {
    removeScratch(scratch);
    try {
      return (await restoreLedgerFile({ random }, { backup: path, keys, ledgerPath: scratch }))
        .manifest;
    } finally {
      removeScratch(scratch);
    }
  },
} satisfies BackupMethods);
