/** A service's endpoints: which pods answer for it, on which ports. Pure. */
import { conditionOf, hasEnded, isDisplaced, isTerminating, uidOf } from "../objects.ts";
import {
  podIsReady,
  sameValue,
  stable,
  type EndpointAddress,
  type Endpoints,
  type EndpointSubset,
  type Node,
  type Pod,
  type Service,
  type ServicePort,
} from "../../api/index.ts";

export type EndpointsView = {
  readonly service: Service;
  /** Pods of the service's namespace. */
  readonly pods: readonly Pod[];
  readonly node: (name: string) => Node | undefined;
  readonly current: Endpoints | undefined;
};

/** The object to write; undefined when there is nothing to change. */
export function planEndpoints(view: EndpointsView): Endpoints | undefined {
  const { service, current } = view;
  const selector = service.spec.selector;
  // Without a selector a person writes the endpoints.
  if (!selector || Object.keys(selector).length === 0 || service.spec.type === "ExternalName")
    return undefined;
  const subsets = subsetsOf(view, selector);
  if (current && sameValue(current.subsets ?? [], subsets)) return undefined;
  const { name, namespace, labels } = service.metadata;
  return {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: { ...current?.metadata, name, namespace, ...(labels ? { labels } : {}) },
    subsets,
  };
}

export function selectsPod(service: Service, pod: Pod): boolean {
  const selector = Object.entries(service.spec.selector ?? {});
  return (
    selector.length > 0 && selector.every(([key, value]) => pod.metadata.labels?.[key] === value)
  );
}

/** One subset per distinct list of ports: a named target port may differ from pod to pod. */
function subsetsOf(view: EndpointsView, selector: Record<string, string>): EndpointSubset[] {
  const { service } = view;
  const byPorts = new Map<
    string,
    { ports: EndpointSubset["ports"]; ready: EndpointAddress[]; rest: EndpointAddress[] }
  >();
  const wanted = Object.entries(selector);
  for (const pod of view.pods) {
    if (!wanted.every(([key, value]) => pod.metadata.labels?.[key] === value)) continue;
    const ip = pod.status?.podIP;
    if (!ip || isTerminating(pod) || hasEnded(pod)) continue;
    const ports = (service.spec.ports ?? []).flatMap((port) => resolvePort(port, pod) ?? []);
    if (ports.length === 0 && (service.spec.ports ?? []).length > 0) continue;
    const key = stable(ports);
    const group = byPorts.get(key) ?? { ports, ready: [], rest: [] };
    byPorts.set(key, group);
    const ready =
      service.spec.publishNotReadyAddresses || (podIsReady(pod) && canBeReached(pod, view.node));
    (ready ? group.ready : group.rest).push(addressOf(pod, ip));
  }
  return [...byPorts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { ports, ready, rest }]) => ({
      ...(ready.length > 0 ? { addresses: ready.sort(byAddress) } : {}),
      ...(rest.length > 0 ? { notReadyAddresses: rest.sort(byAddress) } : {}),
      ports,
    }));
}

/** A pod's last word was "ready", but its machine is silent or given up. */
function canBeReached(pod: Pod, node: (name: string) => Node | undefined): boolean {
  if (isDisplaced(pod)) return false;
  const host = pod.spec.nodeName ? node(pod.spec.nodeName) : undefined;
  const ready = conditionOf(host?.status?.conditions, "Ready");
  return host !== undefined && (ready === undefined || ready.status === "True");
}

function resolvePort(
  port: ServicePort,
  pod: Pod,
): NonNullable<EndpointSubset["ports"]>[number] | undefined {
  const { protocol = "TCP", targetPort = port.port, name, appProtocol } = port;
  const containerPort =
    typeof targetPort === "number"
      ? targetPort
      : pod.spec.containers
          .flatMap((container) => container.ports ?? [])
          .find((entry) => entry.name === targetPort && (entry.protocol ?? "TCP") === protocol)
          ?.containerPort;
  if (containerPort === undefined) return undefined;
  return {
    ...(name ? { name } : {}),
    port: containerPort,
    protocol,
    ...(appProtocol ? { appProtocol } : {}),
  };
}

/** Without the pod's revision: endpoints would change with every probe. */
function addressOf(pod: Pod, ip: string): EndpointAddress {
  const { name, namespace } = pod.metadata;
  return {
    ip,
    ...(pod.spec.hostname ? { hostname: pod.spec.hostname } : {}),
    ...(pod.spec.nodeName ? { nodeName: pod.spec.nodeName } : {}),
    targetRef: { kind: "Pod", namespace, name, uid: uidOf(pod) },
  };
}

function byAddress(a: EndpointAddress, b: EndpointAddress): number {
  const text = (address: EndpointAddress) => `${address.ip} ${address.targetRef?.uid}`;
  return text(a) < text(b) ? -1 : 1;
}
