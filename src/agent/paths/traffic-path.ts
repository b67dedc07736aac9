/**
 * The way of a request: ingress of any node → one compiled route table → a pod of this node, or the
 * mesh port of the pod's node (mTLS) → the pod. The proxy is a thread of its own; here it gets its
 * table and its identity.
 */
import {
  endpointsKind,
  endpointsOf,
  ingressKind,
  nodeKind,
  serviceKind,
  type Endpoints,
  type Ingress,
  type Node,
  type Service,
} from "../../api/index.ts";
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { compile, startTraffic, type Traffic } from "../../traffic/index.ts";
import type { ProxyThread } from "../../traffic/thread/index.ts";
import type { NodeRecord } from "../config.ts";
import { routesPath } from "../data-folder.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { IdentityPath } from "./identity-path.ts";

export type Proxy = {
  readonly traffic: Traffic;
  readonly ingressPort: number;
  readonly meshPort: number;
};

const knownPollMs = 100;
const offsetLookMs = 5000;
/** Certificates are not judged to the second. */
const offsetStepMs = 5000;

/** Listens as soon as there is an identity; until it is fed it follows the table of before, if any. */
export async function startProxy(
  ground: Pick<Ground, "clock" | "random" | "log" | "metrics" | "lifecycle" | "record" | "dataDir">,
  { identity, time }: IdentityPath,
  thread: Promise<ProxyThread>,
): Promise<Proxy> {
  const { clock, random, log, metrics, lifecycle, record, dataDir } = ground;
  const { host, ports } = record;
  const offsetMs = () => time.nowMs() - clock.wallMs();
  const proxyIdentity = () => ({
    credentials: identity.identity,
    trust: identity.trust,
    timeOffsetMs: offsetMs(),
  });
  const traffic = await lifecycle.start(
    "traffic",
    () =>
      startTraffic(
        { clock, random, log, metrics },
        {
          node: record.node,
          ingress: { host, port: ports.ingress },
          mesh: { host, port: ports.mesh },
          identity: proxyIdentity(),
          keptAt: routesPath(dataDir),
          thread,
        },
      ),
    (part) => part.stop(),
  );
  const tellIdentity = async () => {
    try {
      await traffic.setIdentity(proxyIdentity());
    } catch (error) {
      log.error("the proxy did not take its new certificate", { error });
    }
  };
  identity.onChange(() => void tellIdentity());
  await lifecycle.start(
    "proxy's time",
    () => followOffset({ clock, log }, { offsetMs, tell: tellIdentity }),
    (timer) => timer.cancel(),
  );
  return {
    traffic,
    ingressPort: traffic.ingressPort ?? ports.ingress,
    meshPort: traffic.meshPort ?? ports.mesh,
  };
}

/**
 * Tells the proxy the cell's time anew when this host's clock and it have moved apart: peers' renewed
 * certificates would otherwise be "not yet valid" to the mesh of a host whose clock stood still.
 */
export function followOffset(
  deps: { clock: Clock; log: Log },
  options: { offsetMs: () => number; tell: () => Promise<void> },
): Timer {
  let toldMs = options.offsetMs();
  const look = async () => {
    const nowMs = options.offsetMs();
    if (Math.abs(nowMs - toldMs) < offsetStepMs) return;
    toldMs = nowMs;
    await options.tell();
  };
  return every(deps.clock, offsetLookMs, look, (error) =>
    deps.log.error("the proxy was not told the time", { error }),
  );
}

/**
 * Compiles a new table after each burst of changes. The first one waits until all four lists are
 * there and somebody said what there is: half a table would answer 404 where a route exists.
 */
export function feedProxy(
  proxy: Pick<Proxy, "traffic">,
  deps: {
    mirrored: Mirrored;
    isKnown: () => boolean;
    record: Pick<NodeRecord, "node">;
    clock: Clock;
    log: Log;
    signal: AbortSignal;
  },
): void {
  const { mirrored, isKnown, record, clock, log, signal } = deps;
  let ingresses: readonly Ingress[] | undefined;
  let services: readonly Service[] | undefined;
  let endpoints: readonly Endpoints[] | undefined;
  let nodes: readonly Node[] | undefined;
  let scheduled = false;
  const recompile = () => {
    if (scheduled || signal.aborted) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (!ingresses || !services || !endpoints || !nodes) return;
      if (!isKnown()) {
        // Nothing tells when it becomes known; and an empty list may never change.
        clock.after(knownPollMs, recompile);
        return;
      }
      const meshByNode = Object.fromEntries(
        nodes
          .flatMap((node) => endpointsOf(node) ?? [])
          .map(({ node, host, ports }) => [node, { host, port: ports.mesh }]),
      );
      const input = { node: record.node, ingresses, services, endpoints, meshByNode };
      proxy.traffic.setTable(compile(input)).catch((error: unknown) => {
        log.error("the proxy did not take its routes", { error });
      });
    });
  };
  mirrored.follow(ingressKind, (now) => ((ingresses = now), recompile()));
  mirrored.follow(serviceKind, (now) => ((services = now), recompile()));
  mirrored.follow(endpointsKind, (now) => ((endpoints = now), recompile()));
  mirrored.follow(nodeKind, (now) => ((nodes = now), recompile()));
}
