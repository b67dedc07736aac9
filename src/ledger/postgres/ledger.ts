/**
 * The hub's ledger where it has PostgreSQL: one for all hub processes of a database, by the contract of
 * every engine. Which revision comes next, who may write, and what is read stands there; a process
 * keeps nothing but how far it has seen.
 */
import { openPostgres, type PostgresAddress } from "../../runtime/postgres/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createCampaigns } from "../campaign.ts";
import type { Epoch, Ledger, LedgerStatus, Revision } from "../ledger.ts";
import type { Retention } from "../retention.ts";
import { createCompaction } from "./compaction.ts";
import { createCore, type Core, type Deps } from "./core.ts";
import { createLeases } from "./leases.ts";
import { createReads, type Reads } from "./reads.ts";
import { prepareLedgerLayout } from "./schema.ts";
import { writeSnapshot } from "./snapshot.ts";
import { createTransactions } from "./transactions.ts";
import { createWatches } from "./watches.ts";
import { createWrites } from "./writes.ts";

export type PostgresLedgerOptions = {
  readonly address: PostgresAddress;
  /** Shown in pg_stat_activity. Default `skerry-ledger`. */
  readonly application?: string;
  /** How much history stays; see `Retention`. */
  readonly retention?: Partial<Retention>;
  /** How soon a watch hears of what another process wrote. Default 200 ms. */
  readonly pollMs?: number;
  /** A watch without events is told the revision it has seen after this time. Default 5 s. */
  readonly bookmarkMs?: number;
  /** Shorter TTLs are raised to this. Default 1 s. */
  readonly ttlMsMin?: number;
};

/** Reads, renewals and what is asked beside writes. */
const readersMax = 2;
/** Longer than a call waits for its answer, by default; a connection that is silent for so long is given up. */
const pieceMs = 30_000;

/**
 * Makes its tables where there are none. Throws `database-unreachable` and its like, and `store-newer`.
 */
export async function openPostgresLedger(
  given: Deps,
  options: PostgresLedgerOptions,
): Promise<Ledger> {
  const deps = { ...given, log: given.log.child({ room: "ledger" }) };
  const { address, application = "skerry-ledger" } = options;
  const pool = (connectionsMax: number) =>
    openPostgres(deps, address, { application, connectionsMax, timeoutMs: pieceMs });
  await using opened = new AsyncDisposableStack();
  const postgres = opened.adopt(await pool(readersMax), (one) => one.close());
  const writer = opened.adopt(await pool(1), (one) => one.close());
  await prepareLedgerLayout(postgres);
  const [row] = await postgres.use((session) =>
    session.query("SELECT epoch, revision FROM skerry_ledger.state"),
  );
  const epoch = String(row?.["epoch"]) as Epoch;
  const core = createCore(deps, { postgres, revision: Number(row?.["revision"]) as Revision });
  const reads = createReads(core);
  const writes = createWrites(core, writer);
  const leases = createLeases(core, writes, { ttlMsMin: options.ttlMsMin ?? 1000 });
  const compaction = createCompaction(core, { reads, writes }, options.retention ?? {});
  const connections = opened.move();
  let closing: Promise<void> | undefined;

  const ledger: Omit<Ledger, "campaign"> = {
    epoch,
    get: reads.get,
    list: reads.list,
    transact: createTransactions(core, writes),
    watch: createWatches(core, reads, {
      pollMs: options.pollMs ?? 200,
      bookmarkMs: options.bookmarkMs ?? 5000,
    }),
    grant: leases.grant,
    renew: leases.renew,
    revoke: leases.revoke,
    async compact(revision) {
      core.assertOpen();
      await compaction.compact(revision);
    },
    async snapshot(path) {
      core.assertOpen();
      return await writeSnapshot(core, { reads, epoch }, path);
    },
    status: () => statusOf(core, reads),
    close() {
      closing ??= (async () => {
        leases.close();
        compaction.close();
        core.close();
        await connections.disposeAsync();
      })();
      return closing;
    },
  };
  return { ...ledger, campaign: createCampaigns(deps, ledger) };
}

/** Whoever asks how the ledger is must be told soon that it is not well. */
const statusTimeoutMs = 2_000;

async function statusOf(core: Core, reads: Reads): Promise<LedgerStatus> {
  core.assertOpen();
  const { place: name } = core;
  try {
    const [{ revision, compacted }, [row]] = await Promise.all([
      reads.state({ timeoutMs: statusTimeoutMs }),
      core.ask(
        (session) =>
          session.query("SELECT pg_total_relation_size('skerry_ledger.history') AS bytes"),
        { timeoutMs: statusTimeoutMs },
      ),
    ]);
    return {
      engine: "postgres",
      revision,
      compactedRevision: compacted,
      bytes: Number(row?.["bytes"]),
      members: [{ name, state: "leader" }],
      quorum: "held",
    };
  } catch (error) {
    core.assertOpen();
    if (!(error instanceof SkerryError && error.code === "ledger-unavailable")) throw error;
    core.deps.log.debug("the ledger does not answer", { error });
    return {
      engine: "postgres",
      revision: core.seen(),
      compactedRevision: 0 as Revision,
      bytes: 0,
      members: [{ name, state: "unreachable" }],
      quorum: "lost",
    };
  }
}
