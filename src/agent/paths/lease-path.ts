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
  createSingleStarts,
  startNodeLease,
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
  return createSingleStarts({
    lease,
    livePod: ({ metadata: { namespace, name } }, { signal }) =>
      upstream.get(
        podKind,
        { ...(namespace === undefined ? {} : { namespace }), name },
        { signal },
      ),
  });
}

function leaseWrite(result: WriteResult<KubeObject>): LeaseWrite {
  if (result.state === "done")
    return { state: "done", version: result.object.metadata.resourceVersion ?? "" };
  const isMissing = result.state === "refused" && result.reason === "not-found";
  return { state: isMissing ? "missing" : "failed" };
}
