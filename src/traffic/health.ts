/**
 * Passive health of endpoints, from what attempts met (after Envoy's outlier detection): what cannot
 * be reached is ejected at once, what broke several times in a row as well; each further ejection
 * lasts longer. What comes back gets its share little by little (slow start), so that a pod that
 * only just answers is not buried at once.
 */
import type { Clock } from "../lib/clock.ts";

export type HealthOptions = {
  /** Of the first ejection; doubles with each further one. Default 500 ms. */
  readonly ejectMs?: number;
  /** Default 10 s. */
  readonly ejectMsMax?: number;
  /** Broken answers in a row that eject. Default 3. */
  readonly brokenMax?: number;
  /** From the least weight to the whole after a return. Default 3 s. */
  readonly slowStartMs?: number;
  /** Without an ejection this long, the next one is a first one again. Default 10 s. */
  readonly forgetMs?: number;
};

/** `unreachable`: nothing was sent. `broken`: it may have been, and there was no answer. */
export type Fault = "unreachable" | "broken";

/** A moment in the order of ejections: an attempt begun before one says nothing about its end. */
export type Moment = number;

export interface Health {
  /** Nothing is known against anybody: weights need not be asked for. */
  readonly isQuiet: boolean;
  /** Ejections so far. */
  readonly now: Moment;
  /** 0 while ejected; from `weightMin` to 1 after a return; else 1. */
  weight(key: string): number;
  /** True when this ejected it. */
  failed(key: string, fault: Fault): boolean;
  /** An attempt that began at `since` was answered. Ends an ejection that began before it. */
  succeeded(key: string, since: Moment): void;
  /** It is new, or back after an absence: slow start. */
  arrived(key: string): void;
  retain(keys: ReadonlySet<string>): void;
}

/** The share a pod returns with. */
export const weightMin = 0.1;

type Entry = {
  broken: number;
  ejections: number;
  ejectedAt: Moment;
  /** Ejected before, returning after. */
  returnsAtMs: number;
};

export function createHealth(deps: { clock: Clock }, options: HealthOptions = {}): Health {
  const {
    ejectMs = 500,
    ejectMsMax = 10_000,
    brokenMax = 3,
    slowStartMs = 3_000,
    forgetMs = 10_000,
  } = options;
  const entryByKey = new Map<string, Entry>();
  let now: Moment = 0;

  const entryOf = (key: string): Entry => {
    const known = entryByKey.get(key);
    if (known) return known;
    const entry = { broken: 0, ejections: 0, ejectedAt: 0, returnsAtMs: -Infinity };
    entryByKey.set(key, entry);
    return entry;
  };

  return {
    get isQuiet() {
      return entryByKey.size === 0;
    },
    get now() {
      return now;
    },
    weight(key) {
      const entry = entryByKey.get(key);
      if (!entry) return 1;
      const backMs = deps.clock.monotonicMs() - entry.returnsAtMs;
      if (backMs < 0) return 0;
      return Math.min(1, Math.max(weightMin, backMs / slowStartMs));
    },
    failed(key, fault) {
      const nowMs = deps.clock.monotonicMs();
      const entry = entryOf(key);
      // Requests that were under way together tell of one failure, not of many.
      if (entry.returnsAtMs > nowMs) return false;
      if (fault === "broken" && ++entry.broken < brokenMax) return false;
      if (nowMs - entry.returnsAtMs > slowStartMs + forgetMs) entry.ejections = 0;
      entry.returnsAtMs = nowMs + Math.min(ejectMsMax, ejectMs * 2 ** entry.ejections);
      entry.ejections++;
      entry.broken = 0;
      entry.ejectedAt = ++now;
      return true;
    },
    succeeded(key, since) {
      const entry = entryByKey.get(key);
      if (!entry) return;
      const nowMs = deps.clock.monotonicMs();
      if (entry.returnsAtMs > nowMs) {
        // Answered before it was ejected, or tried because everything looked bad.
        if (since >= entry.ejectedAt) entry.returnsAtMs = nowMs;
        return;
      }
      entry.broken = 0;
      if (nowMs - entry.returnsAtMs > slowStartMs + forgetMs) entryByKey.delete(key);
    },
    arrived(key) {
      const entry = entryOf(key);
      entry.returnsAtMs = Math.max(entry.returnsAtMs, deps.clock.monotonicMs());
    },
    retain(keys) {
      for (const key of entryByKey.keys()) if (!keys.has(key)) entryByKey.delete(key);
    },
  };
}
