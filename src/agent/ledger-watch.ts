/**
 * What this server measures of its ledger, again and again, for membership, the ladder and status:
 * which members answer, who leads, and when a quorum last answered. A ledger on one server is asked
 * seldom: all there is to learn of it is that it is one no more.
 */
import { every, type Clock, type Timer } from "../lib/clock.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Log } from "../lib/log.ts";
import type { LedgerReport } from "../api/index.ts";
import type { Ledger, LedgerStatus } from "../ledger/index.ts";
import type { Ground } from "./ground.ts";
import type { LedgerMember, LedgerSituation } from "../membership/index.ts";

export type LedgerWatch = {
  situation(): LedgerSituation;
  stop(): void;
};

/** Rule E wants a proof of the quorum that is younger than 750 ms. */
const proveEveryMs = 300;
const membersEveryMs = 1000;
/** One member that does not answer must not hide for long what the others say. */
const timeoutMs = 1000;
/** A quorum that has answered within this time is held, whatever became of the last question. */
const provedFreshMs = 3000;
/** Members are asked every second; this many seconds without an answer are silence. */
const answeredFreshMs = 3000;
/** Nobody writes here: what is asked is the quorum. */
const probeKey = "meta/quorum";

/** Servers: measures from now on. Elsewhere the ledger is somebody else's. */
export async function startLedgerWatch(
  { clock, log, lifecycle }: Pick<Ground, "clock" | "log" | "lifecycle">,
  ledger: Ledger | undefined,
  /** What stands on this server's disk of a ledger with several members. */
  record: () => { readonly endpoints: readonly { readonly name: string }[] } | undefined,
): Promise<() => LedgerSituation> {
  if (!ledger) return () => ({ state: "sole" });
  const watch = await lifecycle.start(
    "ledger watch",
    () =>
      watchLedger({
        clock,
        log,
        ledger,
        expected: record()?.endpoints.map(({ name }) => name) ?? [],
      }),
    (part) => part.stop(),
  );
  return () => watch.situation();
}

export function watchLedger(deps: {
  clock: Clock;
  log: Log;
  ledger: Pick<Ledger, "get" | "status">;
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
    const status = await ledger.status();
    members = membersOf(status, members, clock.monotonicMs());
  };
  const prove = async () => {
    if (!isShared()) return;
    const sentMs = clock.monotonicMs();
    await ledger.get(probeKey, { timeoutMs });
    provedMs = sentMs;
  };
  const complain = (what: string) => (error: unknown) => log.debug(what, { error });
  const timers: readonly Timer[] = [
    every(clock, membersEveryMs, askMembers, complain("the ledger did not tell its members")),
    every(clock, proveEveryMs, prove, complain("no quorum of the ledger answered")),
  ];
  askMembers().catch(complain("the ledger did not tell its members"));

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
    members: situation.members.map(({ name, votes, leads, answeredMs }) => {
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

/** What was known of a member that does not answer now stays: it tells since when. */
function membersOf(
  { members }: Pick<LedgerStatus, "members">,
  before: readonly LedgerMember[],
  nowMs: MonotonicMs,
): LedgerMember[] {
  return members.map(({ name, state }) => {
    const known = before.find((member) => member.name === name);
    const answers = state !== "unreachable";
    return {
      name,
      votes: state !== "learner" && (answers || known?.votes !== false),
      leads: state === "leader",
      answeredMs: answers ? nowMs : known?.answeredMs,
    };
  });
}
