/** What probes conclude: pure. Thresholds are Kubernetes'. */
import type { Container, Probe } from "../../api/index.ts";

export type ProbeKind = "startup" | "readiness" | "liveness";

export type ProbeTally = {
  /** The conclusion so far. */
  readonly holds: boolean;
  readonly successes: number;
  readonly failures: number;
};

/** Before the first look: liveness is presumed, readiness and startup are not. */
export const freshTally = (kind: ProbeKind): ProbeTally => ({
  holds: kind === "liveness",
  successes: 0,
  failures: 0,
});

export function tally(
  before: ProbeTally,
  ok: boolean,
  probe: Pick<Probe, "successThreshold" | "failureThreshold">,
): ProbeTally {
  const successes = ok ? before.successes + 1 : 0;
  const failures = ok ? 0 : before.failures + 1;
  const holds = ok
    ? before.holds || successes >= (probe.successThreshold ?? 1)
    : before.holds && failures < (probe.failureThreshold ?? 3);
  return { holds, successes, failures };
}

const eagerFirstMs = 50;
const eagerGrowth = 1.5;

/**
 * Until the next look. A container that was never ready is looked at often at first and ever less, down
 * to the probe's own period: most are ready within a fraction of it, and whoever replaces a lost pod
 * waits for nothing else. No threshold counts failures of a readiness that never held.
 */
export function pauseMs(
  kind: ProbeKind,
  now: ProbeTally & { readonly everHeld: boolean },
  probe: Pick<Probe, "periodSeconds">,
): number {
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  if (kind !== "readiness" || now.everHeld || now.failures === 0) return periodMs;
  return Math.min(periodMs, eagerFirstMs * eagerGrowth ** (now.failures - 1));
}

/** A startup or liveness probe that failed often enough: the container is stopped and started again. */
export const isHopeless = (kind: ProbeKind, now: ProbeTally, probe: Probe): boolean =>
  kind !== "readiness" &&
  now.failures >= (probe.failureThreshold ?? 3) &&
  !(kind === "startup" && now.holds);

/** Of a container without probes: started and ready as soon as it runs. */
export function initialVerdict(
  container: Container,
  known: { started: boolean; ready: boolean } | undefined,
): { started: boolean; ready: boolean } {
  const started = known?.started ?? container.startupProbe === undefined;
  // A new agent keeps what the old one found out until it has looked for itself.
  const ready = known?.ready ?? (started && container.readinessProbe === undefined);
  return { started, ready };
}

/** A port's number, by number or by the name that the container gives it. */
export function portOf(container: Container, port: number | string): number | undefined {
  if (typeof port === "number") return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  const number = named ?? Number(port);
  return Number.isInteger(number) && number > 0 && number < 65_536 ? number : undefined;
}
