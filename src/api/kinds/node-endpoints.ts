/**
 * Where a node's listeners are: its address from the Node's status, its ports from one annotation,
 * `skerry.dev/ports: api=7443,mesh=7444,…`. Every node finds the others through this.
 */
import { addressOf, type Node } from "./node.ts";
import { serverRoleLabel } from "./well-known.ts";

export const portsAnnotation = "skerry.dev/ports";

export type NodePorts = {
  readonly api: number;
  readonly mesh: number;
  readonly peers: number;
  readonly ingress: number;
};

export type NodeEndpoints = {
  readonly node: string;
  readonly host: string;
  readonly isServer: boolean;
  readonly ports: NodePorts;
};

export function formatPorts(ports: NodePorts): string {
  return `api=${ports.api},mesh=${ports.mesh},peers=${ports.peers},ingress=${ports.ingress}`;
}

/** Undefined when the node has not told its address or one of its ports. */
export function endpointsOf(node: Node): NodeEndpoints | undefined {
  const host = addressOf(node, "InternalIP");
  const text = node.metadata.annotations?.[portsAnnotation];
  if (host === undefined || text === undefined) return undefined;
  const byName = new Map(
    text.split(",").map((pair) => [pair.split("=")[0], Number(pair.split("=")[1])]),
  );
  const port = (name: keyof NodePorts): number => {
    const value = byName.get(name);
    return value !== undefined && Number.isInteger(value) && value > 0 && value <= 65_535
      ? value
      : 0;
  };
  const ports = {
    api: port("api"),
    mesh: port("mesh"),
    peers: port("peers"),
    ingress: port("ingress"),
  };
  if (Object.values(ports).includes(0)) return undefined;
  return {
    node: node.metadata.name,
    host,
    isServer: node.metadata.labels?.[serverRoleLabel] !== undefined,
    ports,
  };
}
