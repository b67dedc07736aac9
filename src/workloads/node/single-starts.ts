/**
 * The question before each start of a pod that runs at most once. The order matters: first a renewal
 * that the ledger took, then a look at the ledger. What ended the pod while this node was cut off was
 * written before that renewal (it holds only while the Lease stands unrenewed), so the look shows it;
 * and what would end it later has to wait until this renewal's time is over, after which the keeper
 * does not start it any more (`leaseSentBootMs`).
 */
import { partitionTtlMsOf, type Pod } from "../../api/index.ts";
import type { Admission, SingleStarts } from "../ports.ts";
import type { NodeLease } from "./node-lease.ts";

export function createSingleStarts(deps: {
  lease: Pick<NodeLease, "renewedWithin">;
  /** As the ledger has it at this moment, linearizable; no copy. Throws when nobody can tell. */
  livePod: (pod: Pod, options: { signal: AbortSignal }) => Promise<Pod | undefined>;
}): SingleStarts {
  return {
    async admit(pod, options) {
      const sentBootMs = await deps.lease.renewedWithin(partitionTtlMsOf(pod) / 2);
      if (sentBootMs === undefined)
        return no("LeaseExpired", "no server of the cell takes a renewal of this node's lease now");
      const live = await deps.livePod(pod, options);
      if (live?.metadata.uid !== pod.metadata.uid || live?.metadata.deletionTimestamp !== undefined)
        return no("PodGone", "the cell does not want this pod any more");
      const phase = live?.status?.phase;
      return phase === "Succeeded" || phase === "Failed"
        ? no("PodEnded", live?.status?.message ?? "the cell says that this pod has ended")
        : { ok: true, sentBootMs };
    },
  };
}

const no = (reason: string, message: string): Admission => ({
  ok: false,
  reason,
  message: `runs at most once: ${message}`,
});
