/**
 * The leases that receipts of writes hang on, by which the ledger forgets them: one for what is written
 * within a minute, so that each is known for two minutes at least, and three at most; and not for more
 * than a few hundred, since what hangs on a lease goes in one revision, which every watch is told whole.
 */
import type { Clock } from "../../../lib/clock.ts";
import type { LeaseId, Ledger } from "../../ledger.ts";

export interface Receipts {
  lease(): Promise<LeaseId>;
  /** It is gone, whatever its time. */
  forget(lease: LeaseId): void;
}

const usedMs = 60_000;
const usesMax = 500;
const ttlMs = 180_000;

export function createReceipts({
  ledger,
  clock,
}: {
  ledger: Pick<Ledger, "grant">;
  clock: Clock;
}): Receipts {
  let current:
    | { readonly granted: Promise<LeaseId>; readonly untilMs: number; uses: number }
    | undefined;

  const renew = (): Promise<LeaseId> => {
    const granted = ledger.grant(ttlMs).then(({ lease }) => lease);
    const next = { granted, untilMs: clock.monotonicMs() + usedMs, uses: 1 };
    current = next;
    granted.catch(() => {
      if (current === next) current = undefined;
    });
    return granted;
  };

  return {
    lease() {
      if (!current || current.uses >= usesMax || clock.monotonicMs() >= current.untilMs)
        return renew();
      current.uses++;
      return current.granted;
    },
    forget(lease) {
      const before = current;
      before?.granted.then(
        (known) => {
          if (known === lease && current === before) current = undefined;
        },
        // Not granted: whoever asked for it is told, and the next one asks anew.
        () => undefined,
      );
    },
  };
}
