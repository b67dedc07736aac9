/** The pace of an open loop. Pure. */

export type Pace = {
  readonly perSecond: number;
  /**
   * The rate grows evenly for this long. A site that was started a moment ago, all its machines on a few
   * cores, has nothing compiled yet: the full rate at once would measure that, and no fault. Default 0.
   */
  readonly rampMs?: number;
};

/** When the `index`-th is due, from 0, in ms from the start of the loop. */
export function dueAfterMs(index: number, { perSecond, rampMs = 0 }: Pace): number {
  const perMs = perSecond / 1000;
  const inRamp = (perMs * rampMs) / 2;
  return index < inRamp ? Math.sqrt((2 * rampMs * index) / perMs) : rampMs / 2 + index / perMs;
}
