/**
 * The node's lease for pods that must run at most once (`skerry.dev/on-partition: stop`). It counts
 * from the moment the renewal that succeeded was *sent*, on the boot-time clock, which suspend does
 * not stop. It is written down at each renewal, so that a keeper that dies does not forget it; no
 * deadline of this boot means that there is no lease.
 */
import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import type { Clock, Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";

export interface Lease {
  readonly untilBootMs: number | undefined;
  held(): boolean;
  /** A deadline never moves back. Throws `invalid-lease`. */
  renew(renewal: { sentBootMs: number; ttlMs: number }): void;
  close(): void;
}

export function createLease(
  deps: { clock: Clock; bootTimeMs: () => number; log: Log; onLost: () => void },
  options: { path: string; bootId: string },
): Lease {
  const { clock, bootTimeMs } = deps;
  let untilBootMs = readDeadline(options.path, options.bootId);
  let timer: Timer | undefined;
  let writing: Promise<void> | undefined;

  const held = () => untilBootMs !== undefined && bootTimeMs() < untilBootMs;
  const arm = () => {
    timer?.cancel();
    const leftMs = (untilBootMs ?? 0) - bootTimeMs();
    if (leftMs <= 0) return deps.onLost();
    // The timers' clock stops in a suspend, this one does not: look again at least every 250 ms.
    timer = clock.after(Math.min(leftMs, 250), arm);
  };
  const save = () => {
    writing ??= (async () => {
      for (let written: number | undefined; written !== untilBootMs;) {
        written = untilBootMs;
        try {
          await writeFile(`${options.path}.new`, JSON.stringify({ boot: options.bootId, written }));
          await rename(`${options.path}.new`, options.path);
        } catch (error) {
          deps.log.error("the lease cannot be written; a new keeper would not know of it", {
            error,
          });
        }
      }
      writing = undefined;
    })();
  };
  // A lease that ran out while no keeper lived: what it covers must stop now.
  timer = clock.after(0, arm);

  return {
    get untilBootMs() {
      return untilBootMs;
    },
    held,
    renew({ sentBootMs, ttlMs }) {
      if (!(sentBootMs >= 0) || !(ttlMs > 0) || sentBootMs > bootTimeMs() + 1000) {
        throw new SkerryError({
          code: "invalid-lease",
          message: `sentBootMs ${sentBootMs} with ttlMs ${ttlMs} is not a renewal of this boot`,
          hint: "sentBootMs is boot time in milliseconds and not in the future, ttlMs above 0",
        });
      }
      untilBootMs = Math.max(untilBootMs ?? 0, sentBootMs + ttlMs);
      save();
      arm();
    },
    close: () => timer?.cancel(),
  };
}

function readDeadline(path: string, bootId: string): number | undefined {
  try {
    const { boot, written } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    return boot === bootId && typeof written === "number" ? written : undefined;
  } catch {
    // None, or torn: both mean that there is no lease, which is the safe side.
    return undefined;
  }
}
