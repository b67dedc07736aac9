/** How much history a ledger keeps by itself. */
import type { Clock } from "../lib/clock.ts";
import type { Revision } from "./ledger.ts";

/** History is kept while it is young or among the last `revisionsMin`, but never beyond `revisionsMax`. */
export type Retention = {
  /** Default 10,000. */
  readonly revisionsMin: number;
  /** Default 5 minutes. */
  readonly ageMs: number;
  /** Default 200,000. */
  readonly revisionsMax: number;
  /** How often it is looked at. Default 10 s. */
  readonly periodMs: number;
};

export const retentionOf = (options: Partial<Retention>): Retention => ({
  revisionsMin: 10_000,
  ageMs: 300_000,
  revisionsMax: 200_000,
  periodMs: 10_000,
  ...options,
});

/**
 * The revision up to which history may go, from samples of where the ledger was at which time: to be
 * called with the present revision every `periodMs`. At most 0 when nothing may go.
 */
export function createRetention(
  deps: { clock: Clock },
  options: { retention: Retention; revision: Revision },
): (revision: Revision) => number {
  const { clock } = deps;
  const { retention } = options;
  /** The first is the oldest. */
  let samples = [{ atMs: clock.monotonicMs(), revision: options.revision }];

  /** The newest revision that is old enough. */
  const aged = (revision: Revision): number => {
    const nowMs = clock.monotonicMs();
    const old = samples.filter(({ atMs }) => nowMs - atMs >= retention.ageMs);
    const newest = old.at(-1);
    samples = [...(newest ? [newest] : []), ...samples.slice(old.length)];
    samples.push({ atMs: nowMs, revision });
    return newest?.revision ?? 0;
  };

  return (revision) =>
    Math.max(
      Math.min(revision - retention.revisionsMin, aged(revision)),
      revision - retention.revisionsMax,
    );
}
