/** Ledgers for tests: in this thread or in one of their own, in a folder that goes away. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectLedger,
  openSqliteLedger,
  type Ledger,
  type LedgerThreadEvents,
  type SqliteLedgerOptions,
} from "../../src/ledger/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { startThread, type Thread } from "../../src/runtime/thread/index.ts";
import type { LedgerThreadData, TestMethods } from "./ledger.entry.ts";

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (value: Uint8Array | undefined): string | undefined =>
  value && new TextDecoder().decode(value);

export async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "skerry-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export const hostDeps = { clock: systemClock, random: systemRandom, log: silentLog };

export function openTestLedger(
  options: Partial<SqliteLedgerOptions> & { path: string },
): Ledger & AsyncDisposable {
  const ledger = openSqliteLedger({ ...hostDeps, ...options });
  return { ...ledger, [Symbol.asyncDispose]: () => ledger.close() };
}

export type LedgerInThread = AsyncDisposable & {
  ledger: Ledger;
  thread: Thread<TestMethods, LedgerThreadEvents>;
};

export async function startLedgerThread(data: LedgerThreadData): Promise<LedgerInThread> {
  const url = new URL("./ledger.entry.ts", import.meta.url);
  const thread = await startThread<TestMethods, LedgerThreadEvents>(url, {
    name: "ledger",
    data,
  });
  const ledger = await connectLedger(thread, hostDeps);
  return {
    thread,
    ledger,
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await thread.terminate();
    },
  };
}
