/**
 * Ingresses, Services and Endpoints to one route table. Pure and the same for the same objects in
 * any order. Where two Ingresses claim the same host and path, the older one keeps it.
 */
import type {
  EndpointAddress,
  Endpoints,
  Ingress,
  IngressBackend,
  Service,
} from "../../api/index.ts";
import {
  addressOf,
  type Backend,
  type HostRules,
  type MeshAddress,
  type PathRule,
  type RouteEndpoint,
  type RouteTable,
} from "./table.ts";

export type CompileInput = {
  /** The node that the table is for. */
  readonly node: string;
  readonly ingresses: readonly Ingress[];
  readonly services: readonly Service[];
  readonly endpoints: readonly Endpoints[];
  /** Of every node of the cell that is believed to be there. */
  readonly meshByNode: Readonly<Record<string, MeshAddress>>;
};

export function compile(input: CompileInput): RouteTable {
  const backends: Backend[] = [];
  const indexByName = new Map<string, number>();
  const serviceByKey = new Map(input.services.map((service) => [keyOf(service), service]));
  const endpointsByKey = new Map(input.endpoints.map((endpoints) => [keyOf(endpoints), endpoints]));

  const backendOf = (namespace: string, { service }: IngressBackend): number | undefined => {
    if (!service) return undefined;
    const key = `${namespace}/${service.name}`;
    const name = `${key}:${service.port?.number ?? service.port?.name ?? ""}`;
    const known = indexByName.get(name);
    if (known !== undefined) return known;
    const endpoints = readyEndpoints(serviceByKey.get(key), endpointsByKey.get(key), service.port);
    indexByName.set(name, backends.length);
    return backends.push({ name, endpoints }) - 1;
  };

  const pathsByHost = new Map<string, PathRule[]>();
  let defaultBackend: number | undefined;
  for (const ingress of input.ingresses.toSorted(byAge)) {
    const namespace = ingress.metadata.namespace ?? "default";
    if (ingress.spec.defaultBackend)
      defaultBackend ??= backendOf(namespace, ingress.spec.defaultBackend);
    for (const { host = "", http } of ingress.spec.rules ?? []) {
      const name = host.toLowerCase();
      const paths = pathsByHost.get(name) ?? [];
      pathsByHost.set(name, paths);
      for (const { path = "/", pathType, backend } of http?.paths ?? []) {
        const index = backendOf(namespace, backend);
        if (index === undefined) continue;
        const type = pathType === "Exact" ? "Exact" : "Prefix";
        const rule = {
          path: type === "Exact" ? path : withoutTrailingSlash(path),
          type,
          backend: index,
        } as const;
        // The older Ingress came first and keeps it.
        if (paths.some((other) => other.path === rule.path && other.type === type)) continue;
        paths.push(rule);
      }
    }
  }
  const hosts: HostRules[] = [...pathsByHost]
    .map(([host, paths]) => ({ host, paths: paths.toSorted(bySpecificity) }))
    .toSorted(
      (left, right) =>
        hostRank(right.host) - hostRank(left.host) || compareText(left.host, right.host),
    );

  return {
    node: input.node,
    hosts,
    defaultBackend,
    backends,
    served: served(input),
    meshByNode: Object.fromEntries(
      Object.entries(input.meshByNode).filter(([name]) => name !== input.node),
    ),
  };
}

function readyEndpoints(
  service: Service | undefined,
  endpoints: Endpoints | undefined,
  port: { readonly name?: string; readonly number?: number } | undefined,
): RouteEndpoint[] {
  const servicePort = service?.spec.ports?.find((candidate) =>
    port?.number === undefined ? candidate.name === port?.name : candidate.port === port.number,
  );
  if (!servicePort) return [];
  const found = (endpoints?.subsets ?? []).flatMap(({ addresses = [], ports = [] }) =>
    ports
      .filter(({ name = "" }) => name === (servicePort.name ?? ""))
      .filter(({ protocol = "TCP" }) => protocol === "TCP")
      .flatMap((target) => addresses.map((address) => endpointOf(address, target.port))),
  );
  return [...new Map(found.map((endpoint) => [addressOf(endpoint), endpoint])).values()].toSorted(
    (left, right) => compareText(addressOf(left), addressOf(right)),
  );
}

/** Not-ready pods too: a request that is on its way when a pod turns unready still gets there. */
function served({ node, endpoints }: CompileInput): string[] {
  const addresses = endpoints.flatMap(({ subsets = [] }) =>
    subsets.flatMap((subset) =>
      [...(subset.addresses ?? []), ...(subset.notReadyAddresses ?? [])]
        .filter(({ nodeName }) => nodeName === node)
        .flatMap(({ ip }) => (subset.ports ?? []).map(({ port }) => addressOf({ ip, port }))),
    ),
  );
  return [...new Set(addresses)].toSorted(compareText);
}

const endpointOf = ({ ip, nodeName = "" }: EndpointAddress, port: number): RouteEndpoint => ({
  node: nodeName,
  ip,
  port,
});

const keyOf = ({ metadata }: Service | Endpoints) =>
  `${metadata.namespace ?? "default"}/${metadata.name}`;

const withoutTrailingSlash = (path: string) =>
  path.length > 1 ? path.replace(/\/+$/, "") || "/" : path;

function byAge(left: Ingress, right: Ingress): number {
  return (
    compareText(left.metadata.creationTimestamp ?? "9", right.metadata.creationTimestamp ?? "9") ||
    compareText(
      `${left.metadata.namespace}/${left.metadata.name}`,
      `${right.metadata.namespace}/${right.metadata.name}`,
    )
  );
}

/** The longest path first; of the same path, the exact one. */
function bySpecificity(left: PathRule, right: PathRule): number {
  return (
    right.path.length - left.path.length ||
    Number(right.type === "Exact") - Number(left.type === "Exact") ||
    compareText(left.path, right.path)
  );
}

/** Named hosts before wildcards, longer wildcards before shorter, rules for every host last. */
function hostRank(host: string): number {
  if (host === "") return 0;
  return host.startsWith("*.") ? host.length : 1000;
}

const compareText = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0);
