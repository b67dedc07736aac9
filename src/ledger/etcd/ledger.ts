/**
 * The ledger of a cell with several servers: one etcd member on each, reached over mutual TLS. What
 * this adds to etcd: revisions that survive a new cluster (history.ts), transactions that are applied
 * once however often they are sent (slots.ts), and reads and watches that go on at another member.
 */
import { uuid } from "../../lib/random.ts";
import { createCampaigns } from "../campaign.ts";
import { futureRevision, unavailable } from "../checks.ts";
import type { Epoch, Ledger, LedgerStatus, Revision } from "../ledger.ts";
import { createEtcdClient, type EtcdClient } from "./client/client.ts";
import * as wire from "./client/messages.ts";
import { clusterOf } from "./cluster.ts";
import { contractErrors, createCore, isCompacted, type Core } from "./core.ts";
import { historyJump } from "../../lib/history.ts";
import { ensureHistory, readHistory, toEtcd, writeHistory } from "./history.ts";
import { createLeases } from "./leases.ts";
import { defaultQuotaBytes, startMaintenance } from "./maintenance.ts";
import { createReads } from "./reads.ts";
import { createSlots, slotsPrefix } from "./slots.ts";
import { writeSnapshot } from "./snapshot.ts";
import { createTransactions } from "./transactions.ts";
import type { EtcdCluster, EtcdDeps, EtcdLedger, EtcdLedgerOptions } from "./types.ts";
import { createWitnessProbe } from "./witnesses.ts";
import { createWatches } from "./watches.ts";
import { rangeOf } from "./reads.ts";

/** Below the 5 s within which a write must be answered, whatever becomes of the quorum under it. */
const defaultTimeoutMs = 4_500;
/** One that does not answer sooner is told as unreachable. */
const statusTimeoutMs = 1_000;
/** Whoever asks how the ledger is must be told soon that it is not well. */
const quorumTimeoutMs = 2_000;

/** Throws `ledger-unavailable` when no quorum of members answers in time; try again then. */
export async function openEtcdLedger(
  given: EtcdDeps,
  options: EtcdLedgerOptions,
): Promise<EtcdLedger> {
  const deps = { ...given, log: given.log.child({ room: "ledger" }) };
  const client = createEtcdClient(deps, options);
  try {
    return await open(deps, client, options);
  } catch (error) {
    client.close();
    throw error;
  }
}

async function open(
  deps: EtcdDeps,
  client: EtcdClient,
  options: EtcdLedgerOptions,
): Promise<EtcdLedger> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const begun = await contractErrors(
    ensureHistory(deps, client, { initial: options.initial, timeoutMs }),
  );
  const own = await contractErrors(
    client.ask(wire.range, rangeOf(slotsPrefix(options.name)), { timeoutMs }),
  );
  const core = createCore(deps, { client, timeoutMs, ...begun });
  const witnesses = createWitnessProbe(deps, options);
  const cluster = clusterOf(client, witnesses);
  const slots = createSlots({ name: options.name, existing: own.kvs });
  const reads = createReads(core);
  const leases = createLeases(core);
  const maintenance = startMaintenance(core, cluster, {
    retention: options.retention ?? {},
    quotaBytes: options.quotaBytes ?? defaultQuotaBytes,
  });

  const parts: Omit<Ledger, "campaign" | "epoch"> = {
    get: reads.get,
    list: reads.list,
    transact: createTransactions(core, slots),
    watch: createWatches(core),
    grant: leases.grant,
    renew: leases.renew,
    revoke: leases.revoke,
    compact: (revision) => compact(core, revision),
    snapshot(path) {
      core.assertOpen();
      return writeSnapshot(core, path);
    },
    status: () => statusOf(core, cluster),
    async close() {
      if (core.closed.aborted) return;
      maintenance.close();
      core.close();
      leases.close();
      client.close();
      witnesses.close();
    },
  };
  return {
    ...parts,
    campaign: createCampaigns(deps, parts),
    cluster,
    get epoch() {
      return core.history().epoch;
    },
    rewriteHistory: () => rewriteHistory(core),
  };
}

async function compact(core: Core, revision: Revision): Promise<void> {
  core.assertOpen();
  if (!Number.isSafeInteger(revision) || revision > core.seen() + core.history().base)
    await contractErrors(core.verify());
  const { base } = core.history();
  const now = (core.seen() + base) as Revision;
  if (!Number.isSafeInteger(revision) || revision > now) throw futureRevision(revision, now);
  const at = toEtcd(core.history(), revision);
  // What lies before history is forgotten already.
  if (at === undefined) return;
  await contractErrors(
    core.client
      .ask(wire.compact, { revision: at }, { timeoutMs: core.timeoutMs, signal: core.closed })
      .catch((error: unknown) => {
        if (!isCompacted(error)) throw error;
      }),
    { asked: revision, revision: now },
  );
}

async function statusOf(core: Core, cluster: EtcdCluster): Promise<LedgerStatus> {
  core.assertOpen();
  const [statuses, quorum] = await Promise.all([
    cluster.status({ timeoutMs: statusTimeoutMs }),
    readHistory(core.client, quorumTimeoutMs).then(
      ({ revision }) => {
        core.note({ revision });
        return "held" as const;
      },
      (error: unknown) => {
        core.assertOpen();
        core.deps.log.debug("the ledger has no quorum", { error });
        return "lost" as const;
      },
    ),
  ]);
  const { base, first } = core.history();
  return {
    engine: "etcd",
    revision: (core.seen() + base) as Revision,
    compactedRevision: quorum === "held" ? await contractErrors(core.oldest()) : first,
    bytes: Math.max(0, ...statuses.map((one) => (one.state === "answers" ? one.dbBytes : 0))),
    members: statuses.map((one) => ({
      name: one.name,
      state:
        one.state === "unreachable"
          ? "unreachable"
          : one.isLearner
            ? "learner"
            : one.leaderId === one.id
              ? "leader"
              : "follower",
    })),
    quorum,
  };
}

async function rewriteHistory(core: Core): Promise<{ epoch: Epoch; revision: Revision }> {
  core.assertOpen();
  const { client, timeoutMs, deps } = core;
  const before = await contractErrors(core.verify());
  // Where the record itself will stand: one after everything that was.
  const revision = core.seen() + before.base + historyJump + 1;
  const isWritten = await contractErrors(
    writeHistory(
      client,
      { epoch: uuid(deps.random) as Epoch, revision, over: before.modRevision },
      timeoutMs,
    ),
  );
  if (!isWritten) throw unavailable("somebody else rewrote the ledger's history at the same time");
  const { epoch, first } = await contractErrors(core.verify());
  return { epoch, revision: first };
}
