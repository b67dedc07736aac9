import { join } from "node:path";
import { openTestLedger, startLedgerThread, temporaryFolder } from "../support/ledger.ts";
import { ledgerContract } from "./ledger.ts";

/** A machine that stands still for so long must not fail a check. */
const ttlMs = 2_000;

ledgerContract("sqlite in a thread", async () => {
  const folder = await temporaryFolder();
  const data = { path: join(folder.path, "ledger.db"), ttlMsMin: ttlMs, bookmarkMs: 50 };
  let held = await startLedgerThread(data);
  return {
    ledger: held.ledger,
    folder: folder.path,
    ttlMs,
    async reopen() {
      await held[Symbol.asyncDispose]();
      held = await startLedgerThread(data);
      return held.ledger;
    },
    openCopy: async (path) => openTestLedger({ path }),
    async [Symbol.asyncDispose]() {
      await held[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
});
