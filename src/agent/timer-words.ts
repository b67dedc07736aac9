/** The timers of the ledger's members for people: what was measured, what was chosen, and why. Pure. */
import type { LedgerTimers, LedgerTimersOfMember, LedgerTimersView } from "../api/index.ts";
import type { TimerReport, WantedTimers } from "../ledger/index.ts";
import type { Finding } from "./doctor.ts";

/** From here on a lost leader is felt by those who wait for it. */
const slowElectionMs = 2_000;

export function timersView(
  wanted: WantedTimers | undefined,
  reports: readonly TimerReport[],
): LedgerTimersView {
  const nameById = new Map(reports.map(({ memberId, name }) => [memberId, name]));
  return {
    engine: "etcd",
    ...(wanted ? { wanted: wanted.timers, why: wanted.why } : {}),
    members: reports.map(({ name, running, probeP99Ms, measurement }) => ({
      name,
      ...(running ? { running } : {}),
      ...(probeP99Ms === undefined ? {} : { probeP99Ms }),
      ...(measurement
        ? {
            measured: {
              windowMs: measurement.windowMs,
              fsyncs: measurement.fsyncs,
              ...(measurement.fsyncP99Ms === undefined
                ? {}
                : { fsyncP99Ms: measurement.fsyncP99Ms }),
              roundTripP99Ms: Object.fromEntries(
                Object.entries(measurement.roundTripP99MsById).map(([id, p99Ms]) => [
                  nameById.get(id) ?? "witness",
                  p99Ms,
                ]),
              ),
              leaderChanges: measurement.leaderChanges,
              lateHeartbeats: measurement.heartbeatFailures,
              slowApplies: measurement.slowApplies,
            },
          }
        : {}),
    })),
  };
}

export function timerFindings(view: LedgerTimersView): Finding[] {
  const { wanted, why, members } = view;
  if (view.engine === "sqlite") return [];
  if (!wanted)
    return [{ check: "ledger timers", state: "ok", found: "not decided yet: etcd's own hold" }];
  const chosen = {
    check: "ledger timers",
    found: `${inWords(wanted)}: ${why ?? ""}`,
  };
  const isSlow = wanted.electionMs >= slowElectionMs;
  return [
    isSlow
      ? {
          ...chosen,
          state: "limited",
          meaning: `after the loss of the leading server writes wait for up to ${(2.5 * wanted.electionMs) / 1000} s`,
          mend: "an SSD or industrial flash for the servers' data folders, a shorter path between them, or less load",
        }
      : { ...chosen, state: "ok" },
    ...members.map((member) => ofMember(member, wanted)),
  ];
}

const inWords = ({ heartbeatMs, electionMs }: LedgerTimers) =>
  `heartbeat ${heartbeatMs} ms, election ${electionMs} ms`;

function ofMember(member: LedgerTimersOfMember, wanted: LedgerTimers): Finding {
  const { name, running, probeP99Ms, measured } = member;
  const isThere =
    running?.heartbeatMs === wanted.heartbeatMs && running.electionMs === wanted.electionMs;
  const parts = [
    ...(isThere ? [] : [running ? `still ${inWords(running)}` : "timers not known"]),
    ...(measured ? measuredInWords(measured) : ["not measured yet"]),
    ...(probeP99Ms === undefined ? [] : [`at its start ${milliseconds(probeP99Ms)}`]),
  ];
  return { check: `ledger ${name}`, state: "ok", found: parts.join("; ") };
}

function measuredInWords(measured: NonNullable<LedgerTimersOfMember["measured"]>): string[] {
  const { fsyncs, fsyncP99Ms, roundTripP99Ms, leaderChanges, lateHeartbeats } = measured;
  const minutes = Math.max(1, Math.round(measured.windowMs / 60_000));
  return [
    fsyncP99Ms === undefined
      ? "no fsync"
      : `99 of 100 fsyncs within ${milliseconds(fsyncP99Ms)} (${fsyncs} in ${minutes} min)`,
    ...Object.entries(roundTripP99Ms).map(([to, p99Ms]) => `to ${to} ${milliseconds(p99Ms)}`),
    ...(leaderChanges > 0 ? [`${leaderChanges} changes of leader`] : []),
    ...(lateHeartbeats > 0 ? [`${lateHeartbeats} late heartbeats`] : []),
  ];
}

const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
