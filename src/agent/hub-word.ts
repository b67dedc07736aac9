/**
 * How much of the hub's word about other nodes is believed (rule E). A hub that was just started or
 * just reached again has not heard anybody lately, for no fault of theirs: until this node has had a
 * steady link for as long as another needs to come back, nobody counts as missed by the hub.
 */
import type { MonotonicMs } from "../lib/brand.ts";

/** Longer than a redial takes at its slowest: backoff, handshake, one heartbeat. */
const steadyEnoughMs = 15_000;
/** Heartbeats go every second; a longer gap means that the way was broken, or one end asleep. */
const gapMs = 5000;

export type HubWord = {
  /**
   * Ages in ms to believe, for every node of `names`, from what the hub answered over `link` to a
   * heartbeat sent at `sentMs`. A name that is absent from the result was not heard at all.
   */
  believe(answer: {
    readonly link: object;
    readonly heard: Readonly<Record<string, number>>;
    readonly names: Iterable<string>;
    readonly sentMs: MonotonicMs;
    readonly nowMs: MonotonicMs;
  }): Record<string, number>;
};

export function createHubWord(): HubWord {
  let steady: { link: object; sinceMs: MonotonicMs; lastMs: MonotonicMs } | undefined;
  return {
    believe({ link, heard, names, sentMs, nowMs }) {
      const goesOn = steady && steady.link === link && nowMs - steady.lastMs <= gapMs;
      steady = { link, sinceMs: goesOn && steady ? steady.sinceMs : sentMs, lastMs: nowMs };
      const steadyMs = nowMs - steady.sinceMs;
      const ages: Record<string, number> = {};
      for (const name of names) {
        const toldMs = heard[name];
        // As old as the way was long: nobody is said to have been heard later than he was.
        const ageMs = toldMs === undefined ? undefined : toldMs + (nowMs - sentMs);
        if (steadyMs < steadyEnoughMs) ages[name] = Math.min(ageMs ?? steadyMs, steadyMs);
        else if (ageMs !== undefined) ages[name] = ageMs;
      }
      return ages;
    },
  };
}
