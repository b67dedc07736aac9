/** Every kind of a cell. A new kind is one file beside this one and one line here. */
import type { KindDefinition } from "../kind.ts";
import { cellAddressKind } from "./cell-address.ts";
import { collectionKind } from "./collection.ts";
import { configMapKind } from "./config-map.ts";
import { deploymentKind } from "./deployment.ts";
import { endpointsKind } from "./endpoints.ts";
import { eventKind } from "./event.ts";
import { ingressKind } from "./ingress.ts";
import { leaseKind } from "./lease.ts";
import { namespaceKind } from "./namespace.ts";
import { nodeKind } from "./node.ts";
import { podKind } from "./pod.ts";
import { replicaSetKind } from "./replica-set.ts";
import { serviceKind } from "./service.ts";
import { streamKind } from "./stream.ts";

export const kinds: readonly KindDefinition[] = [
  namespaceKind,
  nodeKind,
  podKind,
  configMapKind,
  serviceKind,
  endpointsKind,
  eventKind,
  deploymentKind,
  replicaSetKind,
  ingressKind,
  leaseKind,
  streamKind,
  collectionKind,
  cellAddressKind,
];

export function kindByResource(
  group: string,
  version: string,
  plural: string,
): KindDefinition | undefined {
  return kinds.find(
    (kind) => kind.group === group && kind.version === version && kind.plural === plural,
  );
}

/** By what stands in an object: `apps/v1` and `Deployment`. */
export function kindByObject(apiVersion: string, name: string): KindDefinition | undefined {
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  const version = apiVersion.slice(slash + 1);
  return kinds.find(
    (kind) => kind.group === group && kind.version === version && kind.kind === name,
  );
}
