import { join } from "node:path";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { ledgerContract } from "./ledger.ts";

const ttlMs = 500;

ledgerContract("sqlite", async () => {
  const folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const open = (from: string) => openTestLedger({ path: from, ttlMsMin: ttlMs, bookmarkMs: 50 });
  let ledger = open(path);
  return {
    ledger,
    folder: folder.path,
    ttlMs,
    async reopen() {
      await ledger.close();
      ledger = open(path);
      return ledger;
    },
    openCopy: async (from) => open(from),
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
});
