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
import { compile, startTraffic } from "../../traffic/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { IdentityPath } from "./identity-path.ts";

export type TrafficPath = { readonly ingressPort: number; readonly meshPort: number };

export async function startTrafficPath(
  ground: Ground,
  deps: { mirrored: Mirrored; identity: IdentityPath },
): Promise<TrafficPath> {
  const { clock, random, log, metrics, lifecycle, record } = ground;
  const { identity, time } = deps.identity;
  const proxyIdentity = () => ({
    credentials: identity.identity,
    trust: identity.trust,
    timeOffsetMs: time.nowMs() - clock.wallMs(),
  });
  const traffic = await lifecycle.start(
    "traffic",
    () =>
      startTraffic(
        { clock, random, log, metrics },
        {
          node: record.node,
          ingress: { host: record.host, port: record.ports.ingress },
          mesh: { host: record.host, port: record.ports.mesh },
          identity: proxyIdentity(),
        },
      ),
    (part) => part.stop(),
  );
  identity.onChange(() => traffic.setIdentity(proxyIdentity()));

  let ingresses: readonly Ingress[] = [];
  let services: readonly Service[] = [];
  let endpoints: readonly Endpoints[] = [];
  let nodes: readonly Node[] = [];
  let scheduled = false;
  const recompile = () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      const meshByNode = Object.fromEntries(
        nodes
          .flatMap((node) => endpointsOf(node) ?? [])
          .map(({ node, host, ports }) => [node, { host, port: ports.mesh }]),
      );
      traffic.setTable(compile({ node: record.node, ingresses, services, endpoints, meshByNode }));
    });
  };
  deps.mirrored.follow(ingressKind, (now) => ((ingresses = now), recompile()));
  deps.mirrored.follow(serviceKind, (now) => ((services = now), recompile()));
  deps.mirrored.follow(endpointsKind, (now) => ((endpoints = now), recompile()));
  deps.mirrored.follow(nodeKind, (now) => ((nodes = now), recompile()));
  return {
    ingressPort: traffic.ingressPort ?? record.ports.ingress,
    meshPort: traffic.meshPort ?? record.ports.mesh,
  };
}
