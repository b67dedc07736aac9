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
import type { Log } from "../../lib/log.ts";
import { compile, startTraffic, type Traffic } from "../../traffic/index.ts";
import type { NodeRecord } from "../config.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { IdentityPath } from "./identity-path.ts";

export type Proxy = {
  readonly traffic: Traffic;
  readonly ingressPort: number;
  readonly meshPort: number;
};

/** Listens as soon as there is an identity; until it is fed it knows no routes. */
export async function startProxy(
  ground: Pick<Ground, "clock" | "random" | "log" | "metrics" | "lifecycle" | "record">,
  { identity, time }: IdentityPath,
): Promise<Proxy> {
  const { clock, random, log, metrics, lifecycle, record } = ground;
  const { host, ports } = record;
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
          ingress: { host, port: ports.ingress },
          mesh: { host, port: ports.mesh },
          identity: proxyIdentity(),
        },
      ),
    (part) => part.stop(),
  );
  identity.onChange(() => {
    traffic.setIdentity(proxyIdentity()).catch((error: unknown) => {
      log.error("the proxy did not take its new certificate", { error });
    });
  });
  return {
    traffic,
    ingressPort: traffic.ingressPort ?? ports.ingress,
    meshPort: traffic.meshPort ?? ports.mesh,
  };
}

/** Compiles a new table after each burst of changes. */
export function feedProxy(
  proxy: Proxy,
  deps: { mirrored: Mirrored; record: NodeRecord; log: Log },
): void {
  const { mirrored, record, log } = deps;
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
