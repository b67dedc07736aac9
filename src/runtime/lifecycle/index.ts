/**
 * Ordered start, reverse stop. A part that fails to start stops those started before it; a part
 * that does not stop in time is named and left behind rather than holding up the rest.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";

export interface Lifecycle {
  /** Starts a part and remembers how to stop it. */
  start<T>(
    name: string,
    start: () => T | Promise<T>,
    stop?: (part: T) => void | Promise<void>,
  ): Promise<T>;
  /** Stops everything in reverse order. Idempotent. */
  stop(): Promise<void>;
}

export function createLifecycle(
  deps: { clock: Clock; log: Log },
  options: { stopTimeoutMs?: number } = {},
): Lifecycle {
  const stopTimeoutMs = options.stopTimeoutMs ?? 10_000;
  const parts: { name: string; stop: () => void | Promise<void> }[] = [];
  let stopping: Promise<void> | undefined;

  const stopAll = async () => {
    for (let part = parts.pop(); part; part = parts.pop()) {
      const startedMs = deps.clock.monotonicMs();
      const limit = deadline(deps.clock, stopTimeoutMs);
      const timedOut = new Promise<"timeout">((resolve) => {
        limit.signal.addEventListener("abort", () => resolve("timeout"), { once: true });
      });
      try {
        const outcome = await Promise.race([
          Promise.try(part.stop).then(() => "stopped" as const),
          timedOut,
        ]);
        const tookMs = Math.round(deps.clock.monotonicMs() - startedMs);
        if (outcome === "timeout")
          deps.log.warn("part did not stop in time", { part: part.name, tookMs });
        else deps.log.debug("part stopped", { part: part.name, tookMs });
      } catch (error) {
        deps.log.error("part failed to stop", { part: part.name, error });
      } finally {
        limit.done();
      }
    }
  };

  return {
    async start(name, start, stop) {
      if (stopping) throw closed(name);
      const startedMs = deps.clock.monotonicMs();
      try {
        const part = await start();
        if (stop) parts.push({ name, stop: () => stop(part) });
        // Somebody asked to stop while it started: it must not be forgotten.
        if (stopping) {
          await stopAll();
          throw closed(name);
        }
        deps.log.debug("part started", {
          part: name,
          tookMs: Math.round(deps.clock.monotonicMs() - startedMs),
        });
        return part;
      } catch (error) {
        if (!stopping) deps.log.error("part failed to start", { part: name, error });
        stopping ??= stopAll();
        await stopping;
        throw error;
      }
    },
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
  };
}

const closed = (name: string) =>
  new SkerryError({ code: "closed", message: `${name} was not started: stopping` });
