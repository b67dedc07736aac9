/**
 * The way of a pod on this node: the mirror → the pod runner → the keeper's processes; and back: its
 * status → resources, its logs → whoever asks the API, on this node or another.
 */
import { join } from "node:path";
import { configMapKind, endpointsKind, podKind, type Pod } from "../../api/index.ts";
import type { PodLogs } from "../../apiserver/index.ts";
import { mintAppToken, spiffeId } from "../../identity/index.ts";
import type { Keeper } from "../../keeper/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { WriteResult } from "../../resources/index.ts";
import {
  createPodRunner,
  createProcessDriver,
  type PodRunner,
  type ReportOutcome,
} from "../../workloads/index.ts";
import type { Ground } from "../ground.ts";
import { createPodEnvironment } from "../pod-environment.ts";
import type { StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";
import { startLeasePath } from "./lease-path.ts";
import type { LinkPath } from "./link-path.ts";

/** Ends with the node's certificate at the latest, and is written anew when that is renewed. */
const podTokenLifetimeMs = 30 * 86_400_000;
const pollMs = 100;

export async function startWorkloadPath(
  ground: Ground,
  deps: {
    state: StatePath;
    keeper: Keeper;
    identity: IdentityPath;
    gatewayUrl: string;
    searchPath: string;
  },
): Promise<PodRunner> {
  const { clock, random, log, lifecycle, record, dataDir } = ground;
  const { state, keeper } = deps;
  const { mirror } = state;
  let running: PodRunner | undefined;
  const singleStarts = await startLeasePath(ground, {
    state,
    keeper,
    pods: () => running?.pods() ?? [],
  });
  const environment = await lifecycle.start(
    "what pods are given",
    () =>
      createPodEnvironment({
        clock,
        log,
        folder: join(dataDir, "pods"),
        gatewayUrl: deps.gatewayUrl,
        mint: (pod) => podToken(deps.identity, pod),
        onRenewal: (listener) => deps.identity.identity.onChange(listener),
      }),
    (part) => part.stop(),
  );
  const runner = await lifecycle.start(
    "pods",
    async () => {
      const part = createPodRunner(
        {
          clock,
          random,
          log,
          driver: createProcessDriver({ clock, host: keeper.processes }),
          pods: { watch: ({ signal }) => ownPods(state, ground, signal) },
          statuses: {
            report: async (pod, status, { signal }) => {
              const body = { metadata: { uid: pod.metadata.uid }, status };
              return outcomeOf(
                await mirror.patch(
                  podKind,
                  keyOf(pod),
                  { type: "merge", body },
                  { subresource: "status", signal },
                ),
              );
            },
            confirmDeleted: async (pod, { signal }) =>
              outcomeOf(
                await mirror.delete(podKind, keyOf(pod), {
                  gracePeriodSeconds: 0,
                  ...(pod.metadata.uid === undefined
                    ? {}
                    : { preconditions: { uid: pod.metadata.uid } }),
                  signal,
                }),
              ),
          },
          rotation: {
            holds: async (pod) => {
              const { namespace, uid } = pod.metadata;
              const { items } = await mirror.list(endpointsKind, namespace ? { namespace } : {});
              return items.some(({ subsets = [] }) =>
                subsets.some(({ addresses = [] }) =>
                  addresses.some(({ targetRef }) => targetRef?.uid === uid),
                ),
              );
            },
          },
          singleStarts,
          configMaps: {
            data: async (namespace, name) => {
              const map = await mirror.get(configMapKind, { namespace, name });
              return map && (map.data ?? {});
            },
          },
          environment,
        },
        {
          node: { name: record.node, address: record.host },
          baseEnvironment: { PATH: deps.searchPath, LANG: "C.UTF-8" },
        },
      );
      await part.start();
      running = part;
      return part;
    },
    (part) => part.stop(),
  );
  ground.router.handle("pods.logs", ({ peer, body, signal }) => {
    if (peer.trustDomain !== deps.identity.identity.trust.trustDomain || peer.path[0] !== "node") {
      throw new SkerryError({
        code: "forbidden",
        message: `${peer.id} may not read logs of this node`,
      });
    }
    const { uid, container, options } = JSON.parse(new TextDecoder().decode(body)) as LogRequest;
    return runner.openLogs(uid, container, { ...options, signal });
  });
  return runner;
}

type LogRequest = {
  readonly uid: string;
  readonly container: string;
  readonly options: Parameters<PodRunner["openLogs"]>[2];
};

/** For the API: from this node's runner, or over the link to the pod's node. */
export function podLogsOf(
  record: Ground["record"],
  { runner, links }: { runner: PodRunner; links: Pick<LinkPath, "linkTo"> },
): PodLogs {
  return {
    async *read({ uid, node, container }, { signal, ...options }) {
      if (node === record.node) {
        yield* runner.openLogs(uid, container, { ...options, signal });
        return;
      }
      const link = links.linkTo(node);
      if (!link) {
        throw new SkerryError({
          code: "log-unavailable",
          message: `there is no link to node ${node} now`,
          hint: "skerry status says why; the log is kept on that node",
          retryable: true,
        });
      }
      const request: LogRequest = { uid, container, options };
      yield* link.open("pods.logs", new TextEncoder().encode(JSON.stringify(request)), { signal });
    },
  };
}

/**
 * Pods bound to this node. The bookmark says "this is all there is", and what is not named then is
 * stopped: it is held back until the disk or a server has said what there is.
 */
async function* ownPods(
  { mirror, isKnown }: StatePath,
  { clock, record }: Ground,
  signal: AbortSignal,
) {
  while (!isKnown()) await clock.sleep(pollMs, { signal });
  yield* mirror.watch(podKind, { fieldSelector: `spec.nodeName=${record.node}`, signal });
}

const keyOf = ({ metadata: { namespace, name } }: Pod) => ({
  ...(namespace === undefined ? {} : { namespace }),
  name,
});

function outcomeOf(result: WriteResult<Pod>): ReportOutcome {
  if (result.state === "done") return "done";
  return result.state === "refused" &&
    (result.reason === "not-found" || result.reason === "conflict")
    ? "gone"
    : "later";
}

function podToken({ identity, time }: IdentityPath, { metadata, spec }: Pod): string {
  const { trustDomain } = identity.trust;
  const subject = spiffeId(
    trustDomain,
    "ns",
    metadata.namespace ?? "default",
    "sa",
    spec.serviceAccountName ?? "default",
  );
  return mintAppToken(
    { nowMs: () => time.nowMs(), credentials: identity.identity },
    { subject, lifetimeMs: podTokenLifetimeMs },
  ).token;
}
