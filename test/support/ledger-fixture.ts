/** What the ledger's contract runs on, for engines that keep their ledger in one file. */
import { join } from "node:path";
import type { Ledger } from "../../src/ledger/index.ts";
import type { LedgerFixture } from "../contract/ledger.ts";
import { openTestLedger, temporaryFolder } from "./ledger.ts";

/** A machine that stands still for so long must not fail a check. */
const ttlMs = 2_000;

/** `wrap` puts something in front of the file's ledger; closing what it gives closes both. */
export async function ledgerInFile(
  wrap: (ledger: Ledger) => Ledger = (ledger) => ledger,
): Promise<LedgerFixture> {
  const folder = await temporaryFolder();
  const path = join(folder.path, "ledger.db");
  const open = (from: string) => {
    const ledger = wrap(openTestLedger({ path: from, ttlMsMin: ttlMs, bookmarkMs: 50 }));
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
}
