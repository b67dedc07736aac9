/** Looks at one running instance by its probes, and says when a conclusion changes. */
import type { Container, Probe } from "../../api/index.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import { probeHttp, probeTcp, type ProbeOutcome } from "../../runtime/probe/index.ts";
import type { Driver } from "../driver.ts";
import {
  freshTally,
  initialVerdict,
  isHopeless,
  pauseMs,
  portOf,
  tally,
  type ProbeKind,
} from "./probe-state.ts";

export type Verdict = {
  readonly started: boolean;
  readonly ready: boolean;
  readonly unhealthy?: string;
};

export interface Prober {
  readonly verdict: Verdict;
  stop(): void;
}

export function startProber(
  deps: { clock: Clock; driver: Pick<Driver, "exec"> },
  options: {
    container: Container;
    instance: string;
    startedMs: number;
    address: string;
    /** What an earlier agent found out about this very instance. */
    known: { started: boolean; ready: boolean } | undefined;
    onVerdict: (verdict: Verdict) => void;
  },
): Prober {
  const { clock } = deps;
  const { container } = options;
  const timers = new Set<Timer>();
  let stopped = false;
  let verdict: Verdict = initialVerdict(container, options.known);

  const conclude = (next: Partial<Verdict>) => {
    const before = verdict;
    verdict = { ...verdict, ...next };
    const changed =
      before.started !== verdict.started ||
      before.ready !== verdict.ready ||
      before.unhealthy !== verdict.unhealthy;
    if (changed) options.onVerdict(verdict);
  };
  const after = (delayMs: number, callback: () => void) => {
    if (stopped) return;
    const timer = clock.after(delayMs, () => {
      timers.delete(timer);
      callback();
    });
    timers.add(timer);
  };

  const run = (kind: ProbeKind, probe: Probe, done: () => void) => {
    let now = freshTally(kind);
    let everHeld = verdict.ready;
    const look = async () => {
      const outcome = await probeOnce(deps, { ...options, probe });
      if (stopped) return;
      now = tally(now, outcome.ok, probe);
      if (isHopeless(kind, now, probe)) {
        conclude({ unhealthy: `${kind} probe failed: ${outcome.message}`, ready: false });
        return;
      }
      // A readiness that was taken over stands until the probe itself has concluded otherwise.
      const decided = outcome.ok ? now.holds : now.failures >= (probe.failureThreshold ?? 3);
      if (kind === "readiness" && decided) conclude({ ready: now.holds });
      if (kind === "startup" && now.holds) return done();
      everHeld ||= now.holds;
      after(pauseMs(kind, { ...now, everHeld }, probe), () => void look());
    };
    const runsMs = clock.wallMs() - options.startedMs;
    after(Math.max(0, (probe.initialDelaySeconds ?? 0) * 1000 - runsMs), () => void look());
  };

  const begin = () => {
    if (!container.readinessProbe) conclude({ started: true, ready: true });
    else {
      conclude({ started: true });
      run("readiness", container.readinessProbe, () => {});
    }
    if (container.livenessProbe) run("liveness", container.livenessProbe, () => {});
  };
  if (container.startupProbe && !verdict.started) run("startup", container.startupProbe, begin);
  else begin();

  return {
    get verdict() {
      return verdict;
    },
    stop() {
      stopped = true;
      for (const timer of timers) timer.cancel();
      timers.clear();
    },
  };
}

async function probeOnce(
  deps: { driver: Pick<Driver, "exec"> },
  options: { container: Container; instance: string; address: string; probe: Probe },
): Promise<ProbeOutcome> {
  const { probe, container, address } = options;
  const timeoutMs = Math.max(1, probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec) {
      const { code, stdout, stderr, timedOut } = await deps.driver.exec(
        options.instance,
        probe.exec.command ?? [],
        { timeoutMs },
      );
      if (timedOut) return { ok: false, message: `no end within ${timeoutMs} ms` };
      return { ok: code === 0, message: `exit code ${code}: ${(stderr || stdout).trim()}` };
    }
    const target = probe.httpGet ?? probe.tcpSocket;
    const port = target && portOf(container, target.port);
    if (!target || port === undefined) {
      return { ok: false, message: `port "${target?.port}" is not a port of ${container.name}` };
    }
    const host = target.host ?? address;
    if (!probe.httpGet) return await probeTcp({ host, port }, { timeoutMs });
    const { scheme = "HTTP", path = "/", httpHeaders = [] } = probe.httpGet;
    return await probeHttp({ scheme, host, port, path, headers: httpHeaders }, { timeoutMs });
  } catch (error) {
    return { ok: false, message: explain(error) };
  }
}
