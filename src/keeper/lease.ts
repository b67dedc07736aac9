/**
 * The node's lease for pods that must run at most once (`skerry.dev/on-partition: stop`). Each may run
 * for its own TTL from the moment the renewal that succeeded was *sent*, on the boot-time clock, which
 * suspend does not stop and no setting of the time moves. The renewal is written down, so that a keeper
 * that dies does not forget it; no renewal of this boot means that there is no lease.
 */
import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import type { Clock, Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";

/** `sentBootMs`: when a renewal that succeeded was sent; `ttlMs`: for who names no TTL of his own. */
export type Renewal = { readonly sentBootMs: number; readonly ttlMs: number };

/** What one container runs by. */
export type LeaseTerms = {
  readonly ttlMs?: number | undefined;
  /** Counted from no later renewal than this one. */
  readonly sentBootMs?: number | undefined;
};

export interface Lease {
  /** Until when who names no TTL of his own may run. */
  readonly untilBootMs: number | undefined;
  held(terms?: LeaseTerms): boolean;
  /** Sent later than the one before, or it changes nothing. Throws `invalid-lease`. */
  renew(renewal: Renewal): void;
  /** Somebody runs by the lease from now on. */
  watch(): void;
  /** Stops nobody; resolves when the last renewal is written down. */
  close(): Promise<void>;
}

/** A container that is starting, though its lease is over, is asked for again this soon. */
const lookMsMin = 20;
/** The timers' clock stops in a suspend, the boot-time clock does not: look again at least this often. */
const lookMs = 250;

export function createLease(
  deps: {
    clock: Clock;
    bootTimeMs: () => number;
    log: Log;
    /** Stops those for whom `isOver`; returns the TTLs of all others that run by the lease. */
    onLook: (isOver: (terms: LeaseTerms) => boolean) => readonly (number | undefined)[];
  },
  options: { path: string; bootId: string },
): Lease {
  const { clock, bootTimeMs } = deps;
  let renewal = readRenewal(options.path, options.bootId);
  let timer: Timer | undefined;
  let writing: Promise<void> | undefined;
  let closed = false;

  const untilOf = ({ ttlMs, sentBootMs }: LeaseTerms): number =>
    renewal === undefined
      ? 0
      : Math.min(renewal.sentBootMs, sentBootMs ?? Infinity) + (ttlMs ?? renewal.ttlMs);
  const held = (terms: LeaseTerms = {}) => bootTimeMs() < untilOf(terms);

  const look = () => {
    timer?.cancel();
    if (closed) return;
    const left = deps
      .onLook((terms) => !held(terms))
      .map((ttlMs) => untilOf({ ttlMs }) - bootTimeMs());
    // Without anybody to watch over there is nothing to look for.
    if (left.length > 0)
      timer = clock.after(Math.min(lookMs, Math.max(lookMsMin, Math.min(...left))), look);
  };
  const save = () => {
    writing ??= (async () => {
      for (let written: Renewal | undefined; written !== renewal;) {
        written = renewal;
        const record = { boot: options.bootId, written: untilOf({}), ...written };
        try {
          await writeFile(`${options.path}.new`, JSON.stringify(record));
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
  timer = clock.after(0, look);

  return {
    get untilBootMs() {
      return renewal && untilOf({});
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
      // Who was over before this came has been given up by now: it is stopped, not prolonged.
      look();
      if (closed || sentBootMs <= (renewal?.sentBootMs ?? -1)) return;
      renewal = { sentBootMs, ttlMs };
      save();
      look();
    },
    watch: look,
    async close() {
      closed = true;
      timer?.cancel();
      await writing;
    },
  };
}

/** What keepers of before 0.2 meant by a deadline alone. */
const formerTtlMs = 30_000;

function readRenewal(path: string, bootId: string): Renewal | undefined {
  try {
    const record = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const {
      boot,
      written,
      sentBootMs = Number(written) - formerTtlMs,
      ttlMs = formerTtlMs,
    } = record;
    if (boot !== bootId || typeof sentBootMs !== "number" || typeof ttlMs !== "number")
      return undefined;
    return Number.isFinite(sentBootMs) && Number.isFinite(ttlMs)
      ? { sentBootMs, ttlMs }
      : undefined;
  } catch {
    // None, or torn: both mean that there is no lease, which is the safe side.
    return undefined;
  }
}
