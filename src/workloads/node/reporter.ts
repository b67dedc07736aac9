/**
 * What a node says of itself in the cell's state: its Node object (address, ports, capacity, versions).
 * It says it again and again, so that a Node that somebody deleted or a new ledger
 * gets it back, and never waits for an answer before anything else may run.
 */
import {
  formatPorts,
  hostnameLabel,
  portsAnnotation,
  serverRoleLabel,
  type Node,
  type NodePorts,
} from "../../api/index.ts";
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";

/** How a write ended: `missing` means that the object is not there yet (or not any more). */
export type NodeWrite = "done" | "missing" | "failed";

/** Desired state as this room needs it; bound to `resources` by a root. */
export interface NodeObjects {
  createNode(node: Node): Promise<NodeWrite>;
  /** Merge patches of the node's own fields; what controllers wrote there stays. */
  patchNode(name: string, patch: object, part: "metadata" | "status"): Promise<NodeWrite>;
}

export type NodeFacts = {
  readonly name: string;
  readonly isServer: boolean;
  readonly host: string;
  readonly ports: NodePorts;
  readonly version: string;
  readonly bootId: string;
  readonly kernel: string;
  readonly os: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly podsMax: number;
};

export type NodeReporter = {
  /** Resolves after the first report that got through. */
  readonly reported: Promise<void>;
  stop(): void;
};

const periodMs = 10_000;
const retryMs = 1000;

export function startNodeReporter(
  deps: { objects: NodeObjects; clock: Clock; log: Log },
  facts: NodeFacts,
): NodeReporter {
  const { objects, clock, log } = deps;
  const { name } = facts;
  const { promise: reported, resolve } = Promise.withResolvers<void>();
  let ok = false;

  const reportNode = async (): Promise<boolean> => {
    const { metadata, status } = nodeObject(facts);
    const written = await objects.patchNode(
      name,
      {
        metadata: {
          // In a merge, null takes away: a server may have become a worker.
          labels: { [serverRoleLabel]: null, ...metadata.labels },
          annotations: metadata.annotations,
        },
      },
      "metadata",
    );
    if (written === "missing") return (await objects.createNode(nodeObject(facts))) === "done";
    return written === "done" && (await objects.patchNode(name, { status }, "status")) === "done";
  };
  const report = async () => {
    const before = ok;
    ok = await reportNode();
    if (ok) resolve();
    if (ok !== before)
      log.info(
        ok
          ? "node reported to the cell's state"
          : "node not reported; desired state cannot be written",
      );
  };

  const failed = (error: unknown) => {
    ok = false;
    log.debug("node report failed", { error });
  };
  void report().catch(failed);
  const timer = every(clock, () => (ok ? periodMs : retryMs), report, failed);
  return { reported, stop: () => timer.cancel() };
}

function nodeObject(facts: NodeFacts): Node & { status: NonNullable<Node["status"]> } {
  const resources = {
    cpu: String(facts.cpus),
    memory: `${Math.floor(facts.memoryBytes / 1024)}Ki`,
    pods: String(facts.podsMax),
  };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: facts.name,
      labels: {
        [hostnameLabel]: facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        ...(facts.isServer ? { [serverRoleLabel]: "" } : {}),
      },
      annotations: { [portsAnnotation]: formatPorts(facts.ports) },
    },
    status: {
      addresses: [
        { type: "InternalIP", address: facts.host },
        { type: "Hostname", address: facts.name },
      ],
      capacity: resources,
      allocatable: resources,
      nodeInfo: {
        bootID: facts.bootId,
        kernelVersion: facts.kernel,
        osImage: facts.os,
        containerRuntimeVersion: "process://1",
        kubeletVersion: `v${facts.version}`,
        operatingSystem: "linux",
        architecture: architecture(),
      },
    },
  };
}

/** As Kubernetes names it. */
const architecture = () => (process.arch === "x64" ? "amd64" : process.arch);
