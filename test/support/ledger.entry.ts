/** A thread that owns a SQLite ledger, beside methods of another room. */
import { silentLog } from "../../src/lib/log.ts";
import {
  openSqliteLedger,
  serveLedger,
  type LedgerMethods,
  type LedgerThreadEvents,
  type SqliteLedgerOptions,
} from "../../src/ledger/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData, type ThreadHost } from "../../src/runtime/thread/index.ts";

export type LedgerThreadData = Omit<SqliteLedgerOptions, "clock" | "random" | "log">;
export type TestMethods = LedgerMethods & {
  /** Keeps the thread busy, as a slow disk would, until the gate's first number is not 0 any more. */
  "test.block": (gate: Int32Array) => void;
  "test.exit": () => void;
};

const ledger = openSqliteLedger({
  ...threadData<LedgerThreadData>(),
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
});

const methods: TestMethods = {
  ...serveLedger(ledger, (name, event) => host.emit(name, event)),
  "test.block": (gate) => void Atomics.wait(gate, 0, 0, 60_000),
  "test.exit": () => process.exit(3),
};
const host: ThreadHost<LedgerThreadEvents> = serveThread<LedgerThreadEvents>(methods);
