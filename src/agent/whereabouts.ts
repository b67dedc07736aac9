/**
 * Where the nodes of the cell are: as desired state says, unless a node has since said over its own link
 * that it is somewhere else. That a server can be found again where desired state comes from it is what
 * this is for; whatever desired state says next about that node holds again.
 */
import {
  endpointsOf,
  formatPorts,
  nodeKind,
  portsAnnotation,
  type Node,
  type NodePorts,
} from "../api/index.ts";
import type { Log } from "../lib/log.ts";
import type { Mirrored, MirroredSelection } from "./mirrored.ts";

export type Place = { readonly host: string; readonly ports: NodePorts };

export type Whereabouts = {
  /** Lists that follow the mirror, with Nodes corrected by what they said themselves. */
  readonly mirrored: Mirrored;
  /** `node` is at `place`, by its own word. True when that is news to this node. */
  told(node: string, place: Place): boolean;
};

type Told = { readonly place: Place; readonly insteadOf: string };
type NodesListener = (nodes: readonly Node[]) => void;

const textOf = ({ host, ports }: Place) => `${host} ${formatPorts(ports)}`;

export function createWhereabouts({ log }: { log: Log }, plain: Mirrored): Whereabouts {
  const toldByNode = new Map<string, Told>();
  const again = new Set<() => void>();
  let latest: readonly Node[] = [];
  plain.follow(nodeKind, (nodes: readonly Node[]) => (latest = nodes));

  const correct = (node: Node): Node => {
    const { name } = node.metadata;
    const told = toldByNode.get(name);
    if (!told) return node;
    const stands = endpointsOf(node);
    if (stands && textOf(stands) === told.insteadOf) return placed(node, told.place);
    toldByNode.delete(name);
    return node;
  };
  const followNodes = (listener: NodesListener, selection?: MirroredSelection) => {
    let last: readonly Node[] | undefined;
    const tell = () => {
      if (last) listener(last.map(correct));
    };
    again.add(tell);
    plain.follow(
      nodeKind,
      (nodes: readonly Node[]) => {
        last = nodes;
        tell();
      },
      selection,
    );
  };

  return {
    mirrored: {
      follow(kind, listener, selection) {
        const call = { kind, listener };
        if (isAboutNodes(call)) followNodes(call.listener, selection);
        else plain.follow(kind, listener, selection);
      },
    },
    told(name, place) {
      const node = latest.find(({ metadata }) => metadata.name === name);
      const stands = node && endpointsOf(node);
      if (!stands) return false;
      const before = toldByNode.get(name)?.place ?? stands;
      if (textOf(before) === textOf(place)) return false;
      toldByNode.set(name, { place, insteadOf: textOf(stands) });
      log.warn("a node is not where it was", { node: name, from: before.host, to: place.host });
      for (const tell of again) {
        try {
          tell();
        } catch (error) {
          log.error("a part did not take where a node is now", { node: name, error });
        }
      }
      return true;
    },
  };
}

/** Kinds are single objects: a listener that came with the kind of nodes takes nodes. */
const isAboutNodes = (call: {
  kind: unknown;
  listener: unknown;
}): call is { kind: typeof nodeKind; listener: NodesListener } => call.kind === nodeKind;

function placed(node: Node, { host, ports }: Place): Node {
  const others = (node.status?.addresses ?? []).filter(({ type }) => type !== "InternalIP");
  return {
    ...node,
    metadata: {
      ...node.metadata,
      annotations: { ...node.metadata.annotations, [portsAnnotation]: formatPorts(ports) },
    },
    status: { ...node.status, addresses: [{ type: "InternalIP", address: host }, ...others] },
  };
}
