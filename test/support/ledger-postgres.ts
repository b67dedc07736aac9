/** Ledgers in a real PostgreSQL of the test's own, each check with a database of its own. */
import {
  openPostgresLedger,
  type Ledger,
  type PostgresLedgerOptions,
} from "../../src/ledger/index.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import type { LedgerFixture } from "../contract/ledger.ts";
import { hostDeps, openTestLedger, temporaryFolder } from "./ledger.ts";
import { startPostgres, type TestPostgres } from "./postgres.ts";

/** A machine that stands still for so long must not fail a check. */
const ttlMs = 1_000;

export type PostgresLedgers = {
  server(): Promise<TestPostgres>;
  open(url: string, options?: Partial<PostgresLedgerOptions>): Promise<Ledger & AsyncDisposable>;
  fixture(): Promise<LedgerFixture>;
  stop(): Promise<void>;
};

/** Starts the server at its first use; `stop` it after the tests. */
export function postgresLedgers(options: { host: string }): PostgresLedgers {
  let starting: Promise<TestPostgres> | undefined;
  const server = () => (starting ??= startPostgres(options));
  const open: PostgresLedgers["open"] = async (url, given = {}) => {
    const ledger = await openPostgresLedger(hostDeps, {
      address: parsePostgresUrl(url),
      ttlMsMin: ttlMs,
      ...given,
    });
    return Object.assign(ledger, { [Symbol.asyncDispose]: () => ledger.close() });
  };
  return {
    server,
    open,
    async fixture() {
      const url = await (await server()).freshUrl();
      const folder = await temporaryFolder();
      let ledger = await open(url, { bookmarkMs: 50 });
      return {
        ledger,
        folder: folder.path,
        ttlMs,
        async reopen() {
          await ledger.close();
          ledger = await open(url, { bookmarkMs: 50 });
          return ledger;
        },
        openCopy: async (path) => openTestLedger({ path }),
        async [Symbol.asyncDispose]() {
          await ledger.close();
          await folder[Symbol.asyncDispose]();
        },
      };
    },
    async stop() {
      if (starting) await (await starting)[Symbol.asyncDispose]();
    },
  };
}
