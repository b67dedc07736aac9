/**
 * The way of the cell's truth: which engine holds this server's ledger, and how that changes. One
 * server: SQLite in the storage thread. Several: etcd, a process of the keeper on each. The agent's
 * start waits for no quorum: until there is one, the ledger in front of the engines refuses by name.
 */
import { join } from "node:path";
import { takeOverTokens } from "../../identity/index.ts";
import type { Keeper } from "../../keeper/index.ts";
import {
  connectLedger,
  createServersBook,
  createSwitchingLedger,
  restartSafely,
  type Epoch,
  type LedgerRecord,
  type ServersBook,
  type SwitchingLedger,
} from "../../ledger/index.ts";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { hasEtcdData, putSqliteAside } from "../etcd-files.ts";
import { findEtcd } from "../etcd-runner.ts";
import type { Ground } from "../ground.ts";
import { openKeptLedger, type KeptLedger } from "../kept-ledger.ts";
import { convertToEtcd } from "../ledger-conversion.ts";
import { openLedgerMember, type LedgerMember } from "../ledger-member.ts";
import { endpointOf } from "../ledger-endpoints.ts";
import { tellMemberPlace } from "../member-place.ts";
import { noQuorumYet } from "../ledger-terms.ts";
import { createServerRole, forgetMember, type ServerRole } from "../server-role.ts";
import type { IdentityPath } from "./identity-path.ts";

export type LedgerPath = ServerRole &
  Pick<KeptLedger, "record" | "keepTimers" | "learnEndpoints" | "witnesses" | "learnWitnesses"> &
  Pick<LedgerMember, "cluster" | "supervisor" | "engine" | "peerUrl"> & {
    /** Servers only. */
    readonly ledger: SwitchingLedger | undefined;
    /** Servers only. */
    readonly book: ServersBook | undefined;
    /** Of the member whose data is here. */
    memberId(): string | undefined;
    /** Why this server's member does not run, as last seen; undefined while it runs or is started. */
    memberFailure(): Error | undefined;
    etcdVersion(): Promise<string | undefined>;
    /** From SQLite to etcd. Throws `not-a-server`, `etcd-not-ready` and what a conversion throws. */
    convert(tell: (line: string) => void): Promise<void>;
  };

const openRetryMs = 500;
const openPatienceMs = 1_000;
const lookEveryMs = 5_000;

export async function startLedgerPath(
  ground: Ground,
  deps: { identity: IdentityPath; keeper: Keeper; searchPath: string; restart: () => void },
): Promise<LedgerPath> {
  const { lifecycle, log, dataDir } = ground;
  const { identity, keeper, searchPath, restart } = deps;
  const { trustDomain } = identity.identity.trust;
  const kept = openKeptLedger(dataDir);
  const member = await openLedgerMember(ground, { kept, keeper, searchPath, trustDomain });
  const stopping = new AbortController();
  await lifecycle.start(
    "ledger's opening",
    () => stopping,
    (part) => part.abort(),
  );
  const { signal } = stopping;
  await forgetMember(ground, { kept, member });
  const ledger = await openFront(ground, kept);
  let failure: unknown;
  const startMember = async (of: LedgerRecord) => {
    try {
      await member.start(of);
      failure = undefined;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const record = kept.record();
  if (record) {
    // Left behind by a conversion that was cut short after its commit.
    putSqliteAside(dataDir);
    await member.openCluster();
    await startMember(record).catch((error: unknown) =>
      log.error("this server's member of the ledger cannot be started", { error }),
    );
    if (ledger) await withinMoment(ground, openWhenPossible(ground, { ledger, member, signal }));
  } else {
    // What a conversion or a join that never came to its commit left behind.
    await member.clear();
  }
  const book = ledger && createServersBook(ledger);
  const role = createServerRole(ground, { kept, member, book, identity, restart });
  await lifecycle.start(
    "ledger's members watched",
    () =>
      every(
        ground.clock,
        lookEveryMs,
        () => tend(ground, { kept, member, startMember, role, signal }),
        tellTending(log),
      ),
    (timer) => timer.cancel(),
  );
  return {
    record: kept.record,
    keepTimers: kept.keepTimers,
    learnEndpoints: kept.learnEndpoints,
    witnesses: kept.witnesses,
    learnWitnesses: kept.learnWitnesses,
    cluster: member.cluster,
    supervisor: member.supervisor,
    engine: member.engine,
    peerUrl: member.peerUrl,
    ...role,
    ledger,
    book,
    memberFailure() {
      const state = member.supervisor()?.state();
      if (!kept.record()) return undefined;
      if (state?.state === "refused") return state.error;
      return failure instanceof Error ? failure : undefined;
    },
    memberId: () => (hasEtcdData(dataDir) ? kept.record()?.memberId : undefined),
    etcdVersion: () => findEtcd(searchPath),
    async convert(tell) {
      if (!ledger) throw new SkerryError({ code: "not-a-server", message: "no ledger is here" });
      await convertToEtcd(ground, { kept, member, ledger, trustDomain, restart }, tell);
    },
  };
}

/** Servers: what everybody holds on to while engines come and go behind it; a sole server's file is open. */
async function openFront(
  { clock, random, log, lifecycle, record: node, storage, dataDir }: Ground,
  kept: KeptLedger,
): Promise<SwitchingLedger | undefined> {
  if (node.role !== "server") return undefined;
  const record = kept.record();
  const sqlite = record ? undefined : await connectLedger(storage, { clock, random, log });
  const front = createSwitchingLedger(
    { clock, log },
    { epoch: (sqlite?.epoch ?? record?.epoch ?? "") as Epoch, absent: noQuorumYet },
  );
  await lifecycle.start(
    "ledger",
    () => front,
    (part) => part.close(),
  );
  if (!sqlite) return front;
  front.open(sqlite);
  await takeOverTokens(front, join(dataDir, "tokens")).catch((error: unknown) =>
    log.warn("join tokens of an earlier version were not taken over", { error }),
  );
  return front;
}

async function openWhenPossible(
  { clock, log }: Ground,
  deps: { ledger: SwitchingLedger; member: LedgerMember; signal: AbortSignal },
): Promise<void> {
  const { ledger, member, signal } = deps;
  let isTold = false;
  while (!signal.aborted) {
    try {
      const engine = await member.openEngine();
      if (signal.aborted) return await engine.close();
      ledger.open(engine);
      log.info("the ledger is open", { engine: "etcd" });
      return;
    } catch (error) {
      if (!isTold) log.warn("the ledger waits for a majority of its servers", { error });
      isTold = true;
      await clock.sleep(openRetryMs, { signal }).catch(() => undefined);
    }
  }
}

/** Where a majority answers the ledger opens at once, and nobody need meet it closed. */
async function withinMoment({ clock }: Ground, opening: Promise<void>): Promise<void> {
  await Promise.race([opening, clock.sleep(openPatienceMs)]);
}

/** Looks after what a start could not do, and after what the others have decided. */
async function tend(
  { clock, log, record: node }: Ground,
  deps: {
    kept: KeptLedger;
    member: LedgerMember;
    startMember: (of: LedgerRecord) => Promise<void>;
    role: ServerRole;
    signal: AbortSignal;
  },
): Promise<void> {
  const { kept, member, role, signal } = deps;
  const record = kept.record();
  const state = member.supervisor()?.state();
  if (record && (!state || state.state === "stopped")) await deps.startMember(record);
  // A learner that was taken off again before it was a server.
  const isRemoved = state?.state === "refused" && state.error.code === "member-removed";
  if (kept.record()?.state === "joining" && isRemoved) {
    await member.clear();
    kept.forget();
  }
  const engine = member.engine();
  if (kept.record()?.state !== "member" || !engine) return;
  await role.leave();
  const members = await engine.cluster.members();
  kept.learnEndpoints(members.flatMap(endpointOf));
  const supervisor = member.supervisor();
  // Adopted as an earlier start left it: the binary or its flags are others by now.
  if (supervisor && state?.state === "running" && state.isOutdated)
    await restartSafely({ clock, log }, { ledger: engine, supervisor, name: node.node, signal });
  const { memberId } = kept.record() ?? {};
  const { node: name, host } = node;
  const place = { node: name, host, memberId, peerUrl: member.peerUrl };
  await tellMemberPlace({ log }, engine.cluster, members, place);
}

/** What waits for a person, or for other servers, is said once; the rest passes. */
function tellTending(log: Log): (error: unknown) => void {
  let told: string | undefined;
  return (error) => {
    const waits =
      error instanceof SkerryError && /^(?:restart-unsafe|address-taken)$/.test(error.code);
    const isNews = waits && error.message !== told;
    if (waits) told = error.message;
    log[isNews ? "warn" : "debug"]("the ledger's member cannot be looked after now", { error });
  };
}
