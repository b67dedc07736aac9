/** Join tokens for tests that need no disk, and such as earlier versions kept in files. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  createLedgerTokenStore,
  type KeptToken,
  type TokenLedger,
  type TokenStore,
} from "../../src/identity/index.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";

/** As much of a ledger as tokens need, in memory. */
export function memoryTokenLedger(): TokenLedger {
  const entries = new Map<string, { key: string; value: Uint8Array; modRevision: number }>();
  let revision = 0;
  return {
    get: async (key) => ({ keyValue: entries.get(key) }),
    list: async (prefix) => ({
      items: [...entries.values()].filter(({ key }) => key.startsWith(prefix)),
    }),
    async transact(when, then) {
      if (when.some(({ key, modRevision }) => (entries.get(key)?.modRevision ?? 0) !== modRevision))
        return { state: "refused" };
      revision++;
      for (const operation of then) {
        const { key } = operation;
        if (operation.type === "delete") entries.delete(key);
        else entries.set(key, { key, value: operation.value, modRevision: revision });
      }
      return { state: "done" };
    },
  };
}

export const memoryTokens = (deps: { nowMs: () => number }): TokenStore =>
  createLedgerTokenStore({ ...deps, ledger: memoryTokenLedger() });

/** Files of an earlier version. */
export function writeFolderTokens(folder: string, tokens: readonly KeptToken[]): void {
  mkdirSync(folder, { recursive: true });
  for (const { token, usedBy } of tokens) {
    writeRecord(join(folder, `${token.id}.json`), token);
    if (usedBy !== undefined) writeRecord(join(folder, `${token.id}.used`), { by: usedBy });
  }
}
