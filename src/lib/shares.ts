/**
 * A bounded amount of something (bytes, requests) that several takers share: each up to its own
 * limit, all together up to `totalMax`. Between `totalMax` and `reserveMax` only takers that hold
 * little are served, so that those who hold much cannot shut out those who ask for little.
 */
export type SharesOptions = {
  /** What one taker may hold. A taker that holds nothing always gets its first piece, however large. */
  readonly perTakerMax: number;
  /** What all may hold together. */
  readonly totalMax: number;
  /** As `totalMax`, for takers that hold at most `littleMax` with what they ask for. */
  readonly reserveMax: number;
  readonly littleMax: number;
};

export type ShareVerdict = "taken" | "taker-full" | "full";

export interface Shares {
  /** Takes `amount` for `taker`, or says whose limit stands against it; then nothing was taken. */
  take(taker: string, amount: number): ShareVerdict;
  /** As `take`, held to `reserveMax` only: for callers that bound what one taker asks for by themselves. */
  takeBounded(taker: string, amount: number): ShareVerdict;
  release(taker: string, amount: number): void;
  readonly held: number;
  /** Takers that hold something. */
  readonly takers: number;
  heldBy(taker: string): number;
}

export function createShares(options: SharesOptions): Shares {
  const heldByTaker = new Map<string, number>();
  let held = 0;
  const add = (taker: string, amount: number, before: number): "taken" => {
    heldByTaker.set(taker, before + amount);
    held += amount;
    return "taken";
  };
  return {
    take(taker, amount) {
      const before = heldByTaker.get(taker) ?? 0;
      const after = before + amount;
      if (before > 0 && after > options.perTakerMax) return "taker-full";
      const max = after <= options.littleMax ? options.reserveMax : options.totalMax;
      return held + amount > max ? "full" : add(taker, amount, before);
    },
    takeBounded(taker, amount) {
      if (held + amount > options.reserveMax) return "full";
      return add(taker, amount, heldByTaker.get(taker) ?? 0);
    },
    release(taker, amount) {
      const left = (heldByTaker.get(taker) ?? 0) - amount;
      if (left > 0) heldByTaker.set(taker, left);
      else heldByTaker.delete(taker);
      held -= amount;
    },
    get held() {
      return held;
    },
    get takers() {
      return heldByTaker.size;
    },
    heldBy: (taker) => heldByTaker.get(taker) ?? 0,
  };
}
