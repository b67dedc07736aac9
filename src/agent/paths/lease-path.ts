/**
 * The way of a node's lease (rule F): renewals → the ledger, on this server or through another's API →
 * the keeper, which stops the pods that run by it when they stay out. And before such a pod starts:
 * a fresh renewal, then the ledger's word that the pod is still wanted here.
 */
import {
  leaseKind,
  nodeLeaseNamespace,
  onPartitionOf,
  partitionTtlMsOf,
  podKind,
  type KubeObject,
  type Pod,
} from "../../api/index.ts";
import type { Keeper } from "../../keeper/index.ts";
import { bootTimeMs } from "../../runtime/clock/index.ts";
import type { WriteResult } from "../../resources/index.ts";
import {
  startNodeLease,
  type Admission,
  type LeaseWrite,
  type SingleStarts,
} from "../../workloads/index.ts";
import type { Ground } from "../ground.ts";
import type { StatePath } from "./command-path.ts";

export async function startLeasePath(
  ground: Ground,
  deps: { state: StatePath; keeper: Keeper; pods: () => readonly { readonly pod: Pod }[] },
): Promise<SingleStarts> {
  const { clock, log, lifecycle, record } = ground;
  const { upstream } = deps.state;
  const { keeper } = deps;
  const lease = await lifecycle.start(
    "node lease",
    () =>
      startNodeLease(
        {
          clock,
          bootTimeMs,
          log,
          objects: {
            create: async (object, { signal }) =>
              leaseWrite(await upstream.create(leaseKind, object, { signal })),
            patch: async (name, body, { signal }) =>
              leaseWrite(
                await upstream.patch(
                  leaseKind,
                  { namespace: nodeLeaseNamespace, name },
                  { type: "merge", body },
                  { signal },
                ),
              ),
          },
          keeper: {
            renewLease: (renewal) => keeper.renewLease(renewal),
            get isExact() {
              return keeper.hello?.leases === "per-container";
            },
          },
          ttlsMs: () =>
            deps
              .pods()
              .filter(({ pod }) => onPartitionOf(pod) === "stop")
              .map(({ pod }) => partitionTtlMsOf(pod)),
        },
        { node: record.node },
      ),
    (part) => part.stop(),
  );
  return {
    async admit(pod, { signal }): Promise<Admission> {
      const sentBootMs = await lease.renewedWithin(partitionTtlMsOf(pod) / 2);
      if (sentBootMs === undefined)
        return no("LeaseExpired", "no server of the cell takes a renewal of this node's lease now");
      const { namespace, name, uid } = pod.metadata;
      const live = await upstream.get(
        podKind,
        { ...(namespace === undefined ? {} : { namespace }), name },
        { signal },
      );
      if (!live || live.metadata.uid !== uid || live.metadata.deletionTimestamp !== undefined)
        return no("PodGone", "the cell does not want this pod any more");
      const phase = live.status?.phase;
      return phase === "Succeeded" || phase === "Failed"
        ? no("PodEnded", live.status?.message ?? "the cell says that this pod has ended")
        : { ok: true, sentBootMs };
    },
  };
}

const no = (reason: string, message: string): Admission => ({
  ok: false,
  reason,
  message: `runs at most once: ${message}`,
});

function leaseWrite(result: WriteResult<KubeObject>): LeaseWrite {
  if (result.state === "done")
    return { state: "done", version: result.object.metadata.resourceVersion ?? "" };
  const isMissing = result.state === "refused" && result.reason === "not-found";
  return { state: isMissing ? "missing" : "failed" };
}
