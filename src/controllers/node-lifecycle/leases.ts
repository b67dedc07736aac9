/**
 * How long ago this leader saw each node renew its lease. Time is counted on the leader's monotonic
 * clock, and from the first sight at the earliest: a new leader, or one that was restarted, gives every
 * node a full TTL anew. What the cache does not show yet is guarded where it counts: a pod is given up
 * only while the Lease stands at the version that was judged (`version`).
 */
import { podLeasesAnnotation, type Lease } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import { revisionOf } from "../objects.ts";

export type LeaseView = {
  /** Since this leader saw the last renewal; 0 at first sight. */
  readonly ageMs: number;
  /** Undefined: there is no Lease of this node. */
  readonly version: string | undefined;
  /** The node's agent and keeper stop each pod by its own TTL, and ask the ledger before they start one. */
  readonly isExact: boolean;
};

export interface LeaseBook {
  seen(node: string, lease: Lease | undefined): void;
  of(node: string, lease: Lease | undefined): LeaseView;
  forget(node: string): void;
}

export function createLeaseBook(nowMs: () => MonotonicMs): LeaseBook {
  const seenByNode = new Map<string, { revision: number; atMs: MonotonicMs }>();
  const note = (node: string, lease: Lease | undefined) => {
    const revision = lease ? revisionOf(lease) : 0;
    const before = seenByNode.get(node);
    if (before?.revision === revision) return before;
    const seen = { revision, atMs: nowMs() };
    seenByNode.set(node, seen);
    return seen;
  };
  return {
    seen: (node, lease) => void note(node, lease),
    of: (node, lease) => ({
      ageMs: nowMs() - note(node, lease).atMs,
      version: lease?.metadata.resourceVersion,
      // Without a Lease nothing that needs one has ever run there.
      isExact: !lease || lease.metadata.annotations?.[podLeasesAnnotation] === "exact",
    }),
    forget: (node) => void seenByNode.delete(node),
  };
}
