/**
 * What this server measures of a ledger that it shares with others, again and again, for membership, the
 * ladder and status: which members answer, who leads, and when a quorum last answered. A ledger that is
 * one server's alone is not asked.
 */
import type { LedgerReport } from "../api/index.ts";
import { every, type Clock } from "../lib/clock.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Log } from "../lib/log.ts";
import type { EtcdCluster, Ledger } from "../ledger/index.ts";
import type { LedgerMember, LedgerSituation } from "../membership/index.ts";
import type { Ground } from "./ground.ts";

export type LedgerWatch = {
  situation(): LedgerSituation;
  stop(): void;
};

/** Rule E wants a proof of the quorum that is younger than 750 ms. The beat of membership wakes this thread anyway. */
const proveEveryMs = 250;
const proveTimeoutMs = 1000;
/**
 * A member's answer must not grow older than a verdict takes (1.5 s) while another is waited for: that is
 * two timeouts and a pause.
 */
const membersEveryMs = 250;
const membersTimeoutMs = 500;
/** A quorum that has answered within this time is held, whatever became of the last question. */
const provedFreshMs = 3000;
/** A member that has not answered for this long is told as silent. */
const answeredFreshMs = 3000;
/** Nobody writes here: what is asked is the quorum. */
const probeKey = "meta/quorum";

type EtcdMemberStatus = Awaited<ReturnType<EtcdCluster["status"]>>[number];

type Shared = {
  readonly ledger: Pick<Ledger, "get"> | undefined;
  /** Undefined while the ledger is one server's alone. */
  cluster(): Pick<EtcdCluster, "status"> | undefined;
  /** What stands on this server's disk of a ledger with several members. */
  record(): { readonly endpoints: readonly { readonly name: string }[] } | undefined;
};

/** Servers: measures from now on. Elsewhere the ledger is somebody else's. */
export async function startLedgerWatch(
  { clock, log, lifecycle }: Pick<Ground, "clock" | "log" | "lifecycle">,
  { ledger, cluster, record }: Shared,
): Promise<() => LedgerSituation> {
  if (!ledger) return () => ({ state: "sole" });
  const expected = record()?.endpoints.map(({ name }) => name) ?? [];
  const watch = await lifecycle.start(
    "ledger watch",
    () => watchLedger({ clock, log, ledger, cluster, expected }),
    (part) => part.stop(),
  );
  return () => watch.situation();
}

export function watchLedger(deps: {
  clock: Clock;
  log: Log;
  ledger: Pick<Ledger, "get">;
  cluster: Shared["cluster"];
  /** Members seen before this start: after a cold start nobody has answered yet. */
  expected?: readonly string[];
}): LedgerWatch {
  const { clock, log, ledger } = deps;
  let members: readonly LedgerMember[] = (deps.expected ?? []).map((name) => ({
    name,
    votes: true,
    leads: false,
    answeredMs: undefined,
  }));
  let provedMs: MonotonicMs | undefined;

  const isShared = () => members.filter(({ votes }) => votes).length > 1;
  const askMembers = async () => {
    const sentMs = clock.monotonicMs();
    const statuses = await deps.cluster()?.status({ timeoutMs: membersTimeoutMs });
    if (!statuses) return;
    members = membersOf(statuses, members, sentMs);
    // The only voter is the quorum: it holds until a second one's has been asked for.
    if (!isShared() && members.some((one) => one.leads && one.answeredMs === sentMs))
      provedMs = sentMs;
  };
  const prove = async () => {
    if (!isShared()) return;
    const sentMs = clock.monotonicMs();
    await ledger.get(probeKey, { timeoutMs: proveTimeoutMs });
    provedMs = sentMs;
  };
  const complain = (what: string) => (error: unknown) => log.debug(what, { error });
  const timers = [
    every(clock, membersEveryMs, askMembers, complain("the ledger did not tell its members")),
    every(clock, proveEveryMs, prove, complain("no quorum of the ledger answered")),
  ];

  return {
    situation() {
      if (!isShared()) return { state: "sole" };
      const isProved = provedMs !== undefined && clock.monotonicMs() - provedMs < provedFreshMs;
      return { state: "shared", quorum: isProved ? "held" : "lost", provedMs, members };
    },
    stop() {
      for (const timer of timers) timer.cancel();
    },
  };
}

/** For people: `nodes` are the cell's, so that who is none of them is a witness. */
export function ledgerReport(
  situation: LedgerSituation,
  nodes: readonly string[],
  nowMs: MonotonicMs,
): LedgerReport | undefined {
  if (situation.state === "sole") return undefined;
  const ago = (atMs: MonotonicMs) => Math.max(0, Math.round(nowMs - atMs));
  return {
    quorum: situation.quorum,
    ...(situation.provedMs === undefined ? {} : { provedAgoMs: ago(situation.provedMs) }),
    members: byName(situation.members).map(({ name, votes, leads, answeredMs }) => {
      const answers = answeredMs !== undefined && nowMs - answeredMs < answeredFreshMs;
      return {
        name,
        role: !votes ? "learner" : nodes.includes(name) ? "server" : "witness",
        state: !answers ? "silent" : leads ? "leader" : "follower",
        ...(answeredMs === undefined ? {} : { answeredAgoMs: ago(answeredMs) }),
      };
    }),
  };
}

const byName = (members: readonly LedgerMember[]) =>
  members.toSorted((a, b) => a.name.localeCompare(b.name));

/**
 * A member that answers was there when it was asked: later is not known. What was known of one that
 * does not answer now stays: it tells since when.
 */
function membersOf(
  statuses: readonly EtcdMemberStatus[],
  before: readonly LedgerMember[],
  sentMs: MonotonicMs,
): LedgerMember[] {
  return statuses.map((status) => {
    const { name } = status;
    const known = before.find((member) => member.name === name);
    if (status.state === "unreachable")
      return { name, votes: known?.votes !== false, leads: false, answeredMs: known?.answeredMs };
    const { id, leaderId, isLearner } = status;
    return { name, votes: !isLearner, leads: leaderId === id, answeredMs: sentMs };
  });
}
