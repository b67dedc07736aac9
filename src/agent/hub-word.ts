/**
 * How much of the hub's word about other nodes is believed (rule E). A hub that was just started or
 * just reached again has not heard anybody lately, for no fault of theirs: until this node has had a
 * steady link for as long as another needs to come back, the hub has listened no longer than that.
 */
import type { MonotonicMs } from "../lib/brand.ts";

/** Longer than a redial takes at its slowest: backoff, handshake, one heartbeat. */
const steadyEnoughMs = 15_000;
/** Heartbeats go every second; a longer gap means that the way was broken, or one end asleep. */
const gapMs = 5000;

export type HubWord = {
  /**
   * What the hub answered over `link` to a heartbeat sent at `sentMs`: ages in ms since it heard each
   * other node, and for how long it has surely been there to hear them.
   */
  believe(answer: {
    readonly link: object;
    readonly heard: Readonly<Record<string, number>>;
    readonly sentMs: MonotonicMs;
    readonly nowMs: MonotonicMs;
  }): { readonly heard: Readonly<Record<string, number>>; readonly listenedForMs: number };
};

export function createHubWord(): HubWord {
  let steady: { link: object; sinceMs: MonotonicMs; lastMs: MonotonicMs } | undefined;
  return {
    believe({ link, heard, sentMs, nowMs }) {
      const goesOn = steady && steady.link === link && nowMs - steady.lastMs <= gapMs;
      steady = { link, sinceMs: goesOn && steady ? steady.sinceMs : sentMs, lastMs: nowMs };
      const steadyMs = nowMs - steady.sinceMs;
      // As old as the way was long: nobody is said to have been heard later than he was.
      const ages = Object.entries(heard).map(
        ([node, ms]) => [node, ms + (nowMs - sentMs)] as const,
      );
      return {
        heard: Object.fromEntries(ages),
        listenedForMs: steadyMs < steadyEnoughMs ? steadyMs : Infinity,
      };
    },
  };
}
