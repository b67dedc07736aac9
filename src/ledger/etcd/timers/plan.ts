/**
 * Which heartbeat and election the members shall have: pure. Slower at once, by as many steps as the
 * measurement asks for; faster by one step, when everything measured in an hour would have allowed it
 * with room to spare, so at most hourly. A step that did not hold is tried again after twice the time.
 */
import type { MonotonicMs } from "../../../lib/brand.ts";
import type { EtcdTimers } from "../process/flags.ts";
import type { Measurement } from "./window.ts";

/** Ten heartbeats to an election; etcd wants at least five, and at most 50 s. */
export const timerSteps: readonly EtcdTimers[] = [
  { heartbeatMs: 30, electionMs: 300 },
  { heartbeatMs: 50, electionMs: 500 },
  { heartbeatMs: 100, electionMs: 1_000 },
  { heartbeatMs: 200, electionMs: 2_000 },
  { heartbeatMs: 500, electionMs: 5_000 },
];

/**
 * While a member syncs its log it neither ticks nor sends, and a write syncs the log two or three times
 * where a segment ends; the tail above the 99th percentile reaches ten times it.
 */
const electionPerFsync = 25;
/** etcd's guidance: the heartbeat is about the round trip, the election ten of them. */
const electionPerRoundTrip = 10;
/** A witness never leads: only votes and pre-votes of an election, one round trip each, wait for it. */
const electionPerWitness = 3;
/** Fewer in a window say nothing of their slowest hundredth. */
const fsyncsMin = 100;
/** The part of a window that a member must have run for before its disk or path is called slow: starts are. */
const windowShareMin = 0.2;
/** Elections in a window in which every member ran on: one may have been a person's wish. */
const needlessElections = 2;
/** What a faster step must leave to spare. */
const spare = 1.5;
/** Late heartbeats in a window that are no reason to stay. */
const lateHeartbeats = 5;
/** A step that did not hold is tried again after an hour, two, four, … */
const strikesMax = 4;

export type MemberReport = {
  readonly name: string;
  /** Decimal. */
  readonly memberId: string;
  /** What its process runs with; undefined when that is not known. */
  readonly running?: EtcdTimers | undefined;
  readonly measurement?: Measurement | undefined;
};

export type TimerState = {
  readonly wanted: EtcdTimers;
  /** In words, for people. */
  readonly why: string;
  /** Since when it is wanted, as far as this coordinator knows. */
  readonly sinceMs: MonotonicMs;
  /** Since when every look would have allowed a faster step. */
  readonly calmSinceMs?: MonotonicMs;
  /** Since when all members run what is wanted. */
  readonly settledSinceMs?: MonotonicMs;
  /** The last change made it faster. */
  readonly isFaster: boolean;
  readonly strikes: number;
};

export type TimerView = {
  readonly nowMs: MonotonicMs;
  /** Of members that reported lately. */
  readonly reports: readonly MemberReport[];
  /** Every server among the members has reported lately. */
  readonly isComplete: boolean;
};

export type TimerPace = {
  /** How long a measurement's window is. */
  readonly windowMs: number;
  /** Evidence that a faster step needs. */
  readonly patienceMs: number;
};

export const defaultPace: TimerPace = { windowMs: 300_000, patienceMs: 3_600_000 };

export const sameTimers = (a: EtcdTimers | undefined, b: EtcdTimers | undefined) =>
  a?.heartbeatMs === b?.heartbeatMs && a?.electionMs === b?.electionMs;

/** A coordinator's first: what is wanted already, without any evidence for another. */
export function firstState(
  standing: { wanted: EtcdTimers; why: string },
  nowMs: MonotonicMs,
): TimerState {
  return { ...standing, sinceMs: nowMs, isFaster: false, strikes: 0 };
}

/** `state` itself changes with every look; a change of `wanted` is what has to be told. */
export function planTimers(
  before: TimerState,
  view: TimerView,
  pace: TimerPace = defaultPace,
): TimerState {
  const { nowMs, reports } = view;
  const isSettled =
    view.isComplete && reports.every(({ running }) => sameTimers(running, before.wanted));
  const state = {
    ...before,
    settledSinceMs: isSettled ? (before.settledSinceMs ?? nowMs) : undefined,
  };

  const slowest = slowestOf(
    reports.filter(({ measurement }) => covers(measurement, pace, windowShareMin)),
  );
  if (slowest && slowest.electionMs > before.wanted.electionMs) {
    const wanted = stepFor(slowest.electionMs);
    // The slowest step may be what there is already.
    if (wanted.electionMs > before.wanted.electionMs)
      return slower(state, wanted, slowest.why, view, pace);
  }
  const needless = needlessOf(state, view, pace);
  const next = timerSteps.find(({ electionMs }) => electionMs > before.wanted.electionMs);
  if (needless && next) return slower(state, next, needless, view, pace);
  return faster(state, view, pace);
}

/** The least of the steps that gives an election so much time; the slowest when none does. */
function stepFor(electionMs: number): EtcdTimers {
  const last = timerSteps[timerSteps.length - 1] as EtcdTimers;
  return timerSteps.find((step) => step.electionMs >= electionMs) ?? last;
}

/**
 * Timers for the first member, of which nothing is known but the usual fsync (the median: of so few the
 * slowest say little, and slower timers come soon, faster ones late). Never faster than `least`.
 */
export function timersAtStart(fsyncMedianMs: number, least: EtcdTimers): EtcdTimers {
  return stepFor(Math.max(least.electionMs, fsyncMedianMs * electionPerFsync));
}

type Demand = { readonly electionMs: number; readonly why: string };

/** What the slowest disk or path asks for; undefined when too little was measured. */
function slowestOf(reports: readonly MemberReport[]): Demand | undefined {
  const nameById = new Map(reports.map(({ memberId, name }) => [memberId, name]));
  const demands = reports.flatMap(({ name, measurement }): Demand[] => {
    if (!measurement) return [];
    const { fsyncs, fsyncP99Ms, roundTripP99MsById } = measurement;
    const ofDisk =
      fsyncP99Ms === undefined || fsyncs < fsyncsMin
        ? []
        : [
            {
              electionMs: fsyncP99Ms * electionPerFsync,
              why: `the disk of ${name} takes up to ${inWords(fsyncP99Ms)} for an fsync (99 of 100)`,
            },
          ];
    const ofPaths = Object.entries(roundTripP99MsById).map(([id, p99Ms]) => {
      const to = nameById.get(id);
      return {
        electionMs: p99Ms * (to === undefined ? electionPerWitness : electionPerRoundTrip),
        why: `the round trip from ${name} to ${to ?? "the witness"} takes up to ${inWords(p99Ms)} (99 of 100)`,
      };
    });
    return [...ofDisk, ...ofPaths];
  });
  return demands.toSorted((a, b) => b.electionMs - a.electionMs)[0];
}

/** Why leaders changed although nothing had happened, in words; undefined when they did not. */
function needlessOf(state: TimerState, view: TimerView, pace: TimerPace): string | undefined {
  const { settledSinceMs } = state;
  if (settledSinceMs === undefined || view.nowMs - settledSinceMs < pace.windowMs) return undefined;
  // A member that began anew meanwhile is reason enough for an election.
  if (!view.reports.every(({ measurement }) => isWhole(measurement, pace))) return undefined;
  const changes = Math.max(
    ...view.reports.map(({ measurement }) => measurement?.leaderChanges ?? 0),
  );
  if (changes < needlessElections) return undefined;
  return `the leader changed ${changes} times in ${Math.round(pace.windowMs / 60_000)} minutes although all members ran on`;
}

const isWhole = (measurement: Measurement | undefined, pace: TimerPace) =>
  covers(measurement, pace, 0.8);

const covers = (measurement: Measurement | undefined, { windowMs }: TimerPace, share: number) =>
  measurement !== undefined && measurement.windowMs >= windowMs * share;

function slower(
  state: TimerState,
  wanted: EtcdTimers,
  why: string,
  { nowMs }: TimerView,
  pace: TimerPace,
): TimerState {
  // It was tried, and did not hold for as long as had to be waited for it.
  const failed = state.isFaster && nowMs - state.sinceMs < patienceOf(state, pace);
  return {
    wanted,
    why,
    sinceMs: nowMs,
    isFaster: false,
    strikes: failed ? Math.min(state.strikes + 1, strikesMax) : state.strikes,
  };
}

const patienceOf = ({ strikes }: TimerState, { patienceMs }: TimerPace) =>
  patienceMs * 2 ** strikes;

function faster(state: TimerState, view: TimerView, pace: TimerPace): TimerState {
  const { nowMs } = view;
  const next = timerSteps.findLast(({ electionMs }) => electionMs < state.wanted.electionMs);
  if (!next || !mayBeFaster(next, state, view, pace)) return { ...state, calmSinceMs: undefined };
  const calmSinceMs = state.calmSinceMs ?? nowMs;
  const patienceMs = patienceOf(state, pace);
  if (nowMs - calmSinceMs < patienceMs) return { ...state, calmSinceMs };
  return {
    wanted: next,
    why: `for ${Math.round(patienceMs / 60_000)} minutes disks and paths would have allowed elections of ${next.electionMs} ms: ${slowestOf(view.reports)?.why ?? "nothing was slow"}`,
    sinceMs: nowMs,
    isFaster: true,
    // One that held is a beginning anew.
    strikes: state.isFaster ? 0 : state.strikes,
  };
}

function mayBeFaster(
  next: EtcdTimers,
  state: TimerState,
  { reports }: TimerView,
  pace: TimerPace,
): boolean {
  if (state.settledSinceMs === undefined) return false;
  const isCalm = reports.every(
    ({ measurement }) =>
      measurement !== undefined &&
      isWhole(measurement, pace) &&
      measurement.fsyncs >= fsyncsMin &&
      measurement.leaderChanges === 0 &&
      measurement.heartbeatFailures <= lateHeartbeats,
  );
  const slowest = slowestOf(reports);
  return isCalm && slowest !== undefined && slowest.electionMs * spare <= next.electionMs;
}

const inWords = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
