/** Carries one pod's status to the servers: the newest wins, failures are tried again, nobody waits. */
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { isAbort } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { ReportOutcome } from "../ports.ts";

export interface Reporter {
  /** Forgets what was to be sent before. */
  send(write: (signal: AbortSignal) => Promise<ReportOutcome>, onEnd?: () => void): void;
  close(): void;
}

const backoffOptions = { initialMs: 200, maxMs: 10_000 };

export function createReporter(deps: { clock: Clock; random: Random; log: Log }): Reporter {
  const { clock, log } = deps;
  const controller = new AbortController();
  const backoff = createBackoff(deps, backoffOptions);
  let next:
    | { write: (signal: AbortSignal) => Promise<ReportOutcome>; onEnd?: () => void }
    | undefined;
  let running = false;
  let wakeEarly: AbortController | undefined;

  const run = async () => {
    running = true;
    while (next && !controller.signal.aborted) {
      const current = next;
      let outcome: ReportOutcome = "later";
      try {
        outcome = await current.write(controller.signal);
      } catch (error) {
        if (!isAbort(error)) log.warn("a pod's status was not written yet", { error });
      }
      if (controller.signal.aborted) break;
      if (outcome !== "later") {
        backoff.reset();
        if (next === current) next = undefined;
        current.onEnd?.();
      } else if (next === current) await pause();
    }
    running = false;
  };
  /** Until the next try, or something newer to send. */
  const pause = async () => {
    wakeEarly = new AbortController();
    const signal = AbortSignal.any([controller.signal, wakeEarly.signal]);
    await clock.sleep(backoff.nextMs(), { signal }).catch(() => {});
    wakeEarly = undefined;
  };

  return {
    send(write, onEnd) {
      next = { write, ...(onEnd ? { onEnd } : {}) };
      wakeEarly?.abort();
      if (!running) void run();
    },
    close: () => controller.abort(),
  };
}
