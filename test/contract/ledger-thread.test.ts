import { join } from "node:path";
import { openTestLedger, startLedgerThread, temporaryFolder } from "../support/ledger.ts";
import { ledgerContract } from "./ledger.ts";

const ttlMs = 150;

ledgerContract("sqlite in a thread", async () => {
  const folder = await temporaryFolder();
  const data = { path: join(folder.path, "ledger.db"), ttlMsMin: ttlMs, bookmarkMs: 50 };
  let held = await startLedgerThread(data);
  const stop = async () => {
    await held.ledger.close();
    await held.thread.terminate();
  };
  return {
    ledger: held.ledger,
    folder: folder.path,
    ttlMs,
    async reopen() {
      await stop();
      held = await startLedgerThread(data);
      return held.ledger;
    },
    async openCopy(path) {
      const copy = openTestLedger({ path });
      return { ...copy, [Symbol.asyncDispose]: () => copy.close() };
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await folder[Symbol.asyncDispose]();
    },
  };
});
