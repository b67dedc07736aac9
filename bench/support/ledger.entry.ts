/** A thread that owns a ledger and nothing else. */
import { openSqliteLedger, serveLedger, type LedgerThreadEvents } from "../../src/ledger/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData, type ThreadHost } from "../../src/runtime/thread/index.ts";

const { path } = threadData<{ path: string }>();
const deps = { clock: systemClock, random: systemRandom, log: silentLog };
const host: ThreadHost<LedgerThreadEvents> = serveThread<LedgerThreadEvents>(
  serveLedger(openSqliteLedger({ ...deps, path }), (name, event) => host.emit(name, event)),
);
