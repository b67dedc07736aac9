/** Of the outcome of a batch that several submissions share, what one of them is told. */
import type { AppendOutcome, DurabilityLevel } from "../api/index.ts";

/** `isUnknown`, of a refusal: the store failed, and whether anything was stored is not known. */
export type Submitted = AppendOutcome & { readonly isUnknown?: true };

/**
 * `from`, `to`: its entries in the batch, which asked for `level`. Entries that retention removed lower
 * the level of whoever sent them, and of nobody beside; who sent nothing else has nothing to wait for.
 */
export function outcomeOfPart(
  outcome: Submitted,
  { from, to, level }: { from: number; to: number; level: DurabilityLevel },
): Submitted {
  if (outcome.state === "refused" || !outcome.removed) return outcome;
  const { removed, ...rest } = outcome;
  const own = removed.filter((index) => index >= from && index < to);
  const state = own.length === to - from ? "reached" : rest.state;
  if (own.length > 0) return { ...rest, state, removed: own.map((index) => index - from) };
  return rest.state === "reached" ? { ...rest, reached: level } : rest;
}
