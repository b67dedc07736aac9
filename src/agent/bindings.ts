/**
 * The table "kind → room that obeys": which kinds every node keeps in its mirror, and who reads them
 * there. A new kind is one file in `api/kinds/` and one line here.
 */
import {
  cellAddressKind,
  collectionKind,
  configMapKind,
  deploymentKind,
  endpointsKind,
  ingressKind,
  nodeKind,
  podKind,
  serviceKind,
  streamKind,
} from "../api/index.ts";
import type { MirrorScope } from "../resources/index.ts";
import type { NodeRecord } from "./config.ts";

/** `kube-system/skerry-cell`: what every node of the cell must know of it. */
export const cellConfigName = "skerry-cell";

export function mirrorScopes({
  node,
  role,
}: Pick<NodeRecord, "node" | "role">): readonly MirrorScope[] {
  return [
    // workloads: its own pods. A server keeps all, since its status speaks for the cell.
    role === "server"
      ? { kind: podKind }
      : { kind: podKind, fieldSelector: `spec.nodeName=${node}` },
    // workloads: environment of pods; agent: where the hub is
    { kind: configMapKind },
    // membership: whom to expect; transport: whom to link with; traffic: whose mesh to use
    { kind: nodeKind },
    // traffic: the route table
    { kind: serviceKind },
    { kind: endpointsKind },
    { kind: ingressKind },
    // ingest and data: what is taken, how long it is kept, what may leave
    { kind: streamKind },
    // data: which documents there are, and how their fields merge
    { kind: collectionKind },
    // traffic: which node holds the cell's addresses, and who is named in certificates
    { kind: cellAddressKind },
    // status: what should run
    { kind: deploymentKind },
  ];
}
