/**
 * Objects that go by themselves (Kubernetes Events) hang on leases of the ledger. One lease serves
 * all writes of a while, so that a burst of events costs one lease.
 */
import type { KindDefinition } from "../../api/index.ts";
import type { LeaseId, Ledger } from "../../ledger/index.ts";
import type { Clock } from "../../lib/clock.ts";

/** A lease takes writes for this part of the kind's time to live, so objects live up to that much longer. */
const sharedPart = 0.1;

type Shared = { readonly lease: Promise<LeaseId>; readonly untilMs: number };

export interface Expiry {
  leaseFor(kind: KindDefinition): Promise<LeaseId | undefined>;
  /** After `lease-not-found`: the next write gets a new one. */
  forget(kind: KindDefinition): void;
}

export function createExpiry(deps: { ledger: Ledger; clock: Clock }): Expiry {
  const sharedByKind = new Map<KindDefinition, Shared>();
  return {
    async leaseFor(kind) {
      if (kind.ttlMs === undefined) return undefined;
      const nowMs = deps.clock.monotonicMs();
      const shared = sharedByKind.get(kind);
      if (shared && nowMs < shared.untilMs) return await shared.lease;
      const lease = deps.ledger
        .grant(kind.ttlMs * (1 + sharedPart))
        .then((granted) => granted.lease);
      const next = { lease, untilMs: nowMs + kind.ttlMs * sharedPart };
      sharedByKind.set(kind, next);
      try {
        return await lease;
      } catch (error) {
        if (sharedByKind.get(kind) === next) sharedByKind.delete(kind);
        throw error;
      }
    },
    forget: (kind) => void sharedByKind.delete(kind),
  };
}
