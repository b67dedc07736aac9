/**
 * Keeps the members' timers fit for their disks and paths. Every server measures its own member and
 * takes over what is wanted by restarting it: followers first, the leader when all others have done so,
 * one at a time and only while all are well (`restartSafely`). Which timers are wanted is decided by
 * whoever holds the election `ledger-timers`. All of it stands in the ledger, so that whoever is
 * killed in between goes on where it was; meanwhile members with different timers get along.
 */
import type { MonotonicMs } from "../../../lib/brand.ts";
import { every, type Clock } from "../../../lib/clock.ts";
import { explain } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import type { Revision } from "../../ledger.ts";
import type { Campaign, Ledger } from "../../ledger.ts";
import type { EtcdTimers } from "../process/flags.ts";
import { createTimersBook, type StoredReport, type TimerReport, type TimersBook } from "./book.ts";
import { parseSample } from "./metrics.ts";
import {
  defaultPace,
  firstState,
  planTimers,
  sameTimers,
  type TimerPace,
  type TimerState,
} from "./plan.ts";
import { createWindow } from "./window.ts";

/** This server's member, and what is seen of the others. */
export interface TimedMember {
  /** Its `/metrics`. */
  metrics(): Promise<string>;
  /** What its process runs with; undefined while none runs, or it runs with what is not kept any more. */
  running(): EtcdTimers | undefined;
  memberId(): string | undefined;
  /** Names of all members, witnesses too, and the one that leads. */
  cluster(): Promise<{ readonly members: readonly string[]; readonly leader: string | undefined }>;
  /** Keeps them and restarts the member, when its turn comes. Throws `restart-unsafe`. */
  restart(timers: EtcdTimers): Promise<void>;
}

export type TimersOptions = {
  readonly self: string;
  /** What this server's disk showed at the start, once that is known. */
  readonly probeP99Ms?: () => number | undefined;
  readonly pace?: Partial<TimersPace>;
};

export type TimersPace = TimerPace & {
  readonly sampleEveryMs: number;
  readonly reportEveryMs: number;
  readonly lookEveryMs: number;
};

export interface Timers extends AsyncDisposable {
  /** What was measured here last. */
  own(): TimerReport | undefined;
}

const electionName = "ledger-timers";
const leadershipTtlMs = 10_000;
const retryMs = 5_000;
/** A report that is older than so many periods is a silent server's. */
const freshReports = 3;

const usual: TimersPace = {
  ...defaultPace,
  sampleEveryMs: 15_000,
  reportEveryMs: 30_000,
  lookEveryMs: 10_000,
};

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly ledger: Pick<Ledger, "get" | "list" | "transact" | "campaign">;
  readonly member: TimedMember;
};

export function startTimers(deps: Deps, options: TimersOptions): Timers {
  const { clock, ledger, member } = deps;
  const { self } = options;
  const log = deps.log.child({ room: "ledger" });
  const pace = { ...usual, ...options.pace };
  const book = createTimersBook(ledger);
  const window = createWindow(pace.windowMs);
  const stopping = new AbortController();
  let own: TimerReport | undefined;
  let reported: { atMs: MonotonicMs; running: EtcdTimers | undefined } | undefined;

  const report = async () => {
    const memberId = member.memberId();
    const running = member.running();
    if (memberId === undefined || !running) return;
    const measurement = window.measurement();
    own = { name: self, memberId, running, probeP99Ms: options.probeP99Ms?.(), measurement };
    const nowMs = clock.monotonicMs();
    const isDue = !reported || nowMs - reported.atMs >= pace.reportEveryMs;
    if (!isDue && sameTimers(reported?.running, running)) return;
    await book.report(own);
    reported = { atMs: nowMs, running };
  };

  const measure = async () => {
    if (!member.running()) return;
    const sample = parseSample(await member.metrics());
    if (sample) window.add(sample, clock.monotonicMs());
    await report();
  };

  const follow = async () => {
    const running = member.running();
    if (!running) return;
    const wanted = await book.wanted();
    if (!wanted || sameTimers(wanted.timers, running)) return;
    const { members, leader } = await member.cluster();
    if (leader === self) {
      const others = (await book.reports()).filter(
        ({ name }) => name !== self && members.includes(name),
      );
      if (!others.every((one) => sameTimers(one.running, wanted.timers))) return;
    }
    await member.restart(wanted.timers);
    await report();
  };

  const coordinate = async () => {
    if (!member.running()) return;
    const campaign = await ledger.campaign(electionName, {
      id: self,
      ttlMs: leadershipTtlMs,
      signal: stopping.signal,
    });
    const signal = AbortSignal.any([campaign.lost, stopping.signal]);
    try {
      await decideWhile({ clock, log, book, member, pace, campaign, signal });
    } finally {
      if (!campaign.lost.aborted)
        await campaign.resign().catch((error: unknown) => log.debug("not resigned", { error }));
    }
  };

  const complain = (what: string) => (error: unknown) => {
    if (!stopping.signal.aborted) log.debug(what, { because: explain(error) });
  };
  let following: Promise<void> = Promise.resolve();
  const timers = [
    every(clock, pace.sampleEveryMs, measure, complain("the ledger's member was not measured")),
    every(
      clock,
      pace.lookEveryMs,
      () => (following = follow()),
      complain("the ledger's timers are taken over later"),
    ),
  ];
  const coordinating = (async () => {
    while (!stopping.signal.aborted) {
      await coordinate().catch(complain("the ledger's timers are not decided here"));
      await clock
        .sleep(Math.min(retryMs, pace.lookEveryMs), { signal: stopping.signal })
        .catch(() => {});
    }
  })();

  return {
    own: () => own,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      for (const timer of timers) timer.cancel();
      await coordinating;
      // A member that is being restarted shall come up again.
      await following.catch(() => {});
    },
  };
}

/** Until `signal` aborts. Throws when the ledger does; then another begins with what is wanted by then. */
async function decideWhile(deps: {
  clock: Clock;
  log: Log;
  book: TimersBook;
  member: TimedMember;
  pace: TimersPace;
  campaign: Campaign;
  signal: AbortSignal;
}): Promise<void> {
  const { clock, log, book, member, pace, campaign, signal } = deps;
  const freshness = createFreshness(clock, freshReports * pace.reportEveryMs);
  let state: TimerState | undefined;
  const standing = await book.wanted();
  if (standing)
    state = firstState({ wanted: standing.timers, why: standing.why }, clock.monotonicMs());
  while (!signal.aborted) {
    const stored = await book.reports();
    const { members } = await member.cluster();
    for (const { name } of stored) if (!members.includes(name)) await book.forget(name);
    const servers = stored.filter(({ name }) => members.includes(name));
    const reports = servers.filter(freshness.isFresh);
    const running = member.running();
    if (!state && running) {
      const why = "as the first server started: its disk was measured, nothing else was known";
      state = firstState({ wanted: running, why }, clock.monotonicMs());
      await book.want({ timers: running, why }, campaign);
    }
    if (state) {
      const isComplete = servers.length > 0 && reports.length === servers.length;
      const next = planTimers(state, { nowMs: clock.monotonicMs(), reports, isComplete }, pace);
      if (!sameTimers(next.wanted, state.wanted)) {
        await book.want({ timers: next.wanted, why: next.why }, campaign);
        log.info("other timers for the ledger's members", { timers: next.wanted, why: next.why });
      }
      state = next;
    }
    await clock.sleep(pace.lookEveryMs, { signal }).catch(() => {});
  }
}

/** By when it changed under this coordinator's eyes: servers' clocks need not agree. */
function createFreshness(clock: Clock, freshMs: number) {
  const seen = new Map<string, { revision: Revision; atMs: MonotonicMs }>();
  return {
    isFresh({ name, revision }: StoredReport): boolean {
      const nowMs = clock.monotonicMs();
      const known = seen.get(name);
      if (known?.revision === revision) return nowMs - known.atMs < freshMs;
      seen.set(name, { revision, atMs: nowMs });
      return true;
    },
  };
}
