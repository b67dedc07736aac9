import { join } from "node:path";
import { switchingOver } from "../support/ledger-conversion.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { ledgerContract } from "./ledger.ts";

const ttlMs = 500;

ledgerContract("switching", async () => {
  const folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const open = (from: string) => {
    const ledger = switchingOver(openTestLedger({ path: from, ttlMsMin: ttlMs, bookmarkMs: 50 }));
    return Object.assign(ledger, { [Symbol.asyncDispose]: () => ledger.close() });
  };
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
