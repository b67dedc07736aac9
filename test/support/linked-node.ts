/** Nodes that are links alone, over real TLS on loopback addresses; desired state is told by hand. */
import type { TestContext } from "node:test";
import type { Node } from "../../src/api/index.ts";
import type { Ground } from "../../src/agent/ground.ts";
import type { Mirrored } from "../../src/agent/mirrored.ts";
import type { IdentityPath } from "../../src/agent/paths/identity-path.ts";
import { startLinkPath } from "../../src/agent/paths/link-path.ts";
import { createLifecycle } from "../../src/runtime/lifecycle/index.ts";
import { createRouter, type Link } from "../../src/transport/index.ts";
import { recordOf } from "./backup.ts";
import { testDeps, type TestCell } from "./transport.ts";

/** Looks again ten times as often. */
const clock = { ...testDeps.clock, untilNext: (periodMs: number) => periodMs / 10 };

export function nodeAt(name: string, host: string, peers: number): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      annotations: { "skerry.dev/ports": `api=7443,mesh=7444,peers=${peers},ingress=8080` },
    },
    status: { addresses: [{ type: "InternalIP", address: host }] },
  };
}

export type LinkedNodeOptions = {
  readonly name: string;
  readonly host: string;
  readonly role: "server" | "worker";
  readonly dataDir: string;
  readonly hasMoved?: boolean;
  readonly pointer?: string;
  readonly onPointerServed?: () => void;
  readonly onPeer?: (link: Link) => void;
  /** What stands between desired state and the links. */
  readonly through?: (plain: Mirrored) => Mirrored;
};

export async function startLinkedNode(t: TestContext, cell: TestCell, options: LinkedNodeOptions) {
  const { name, host, role, dataDir } = options;
  const lifecycle = createLifecycle(testDeps);
  t.after(() => lifecycle.stop());
  const record = recordOf(name);
  const ground = {
    ...testDeps,
    clock,
    lifecycle,
    dataDir,
    router: createRouter(),
    record: { ...record, role, host, ports: { ...record.ports, peers: 0 } },
  } as Partial<Ground> as Ground;
  const credentials = await cell.credentials("node", name);
  const identity = {
    identity: {
      trust: cell.trust,
      trusts: [cell.trust],
      identity: credentials,
      onChange: () => () => undefined,
    },
  } as unknown as IdentityPath;
  const followers: ((nodes: readonly Node[]) => void)[] = [];
  const plain: Mirrored = {
    follow: (kind: { plural: string }, listener: (objects: never) => void) =>
      void (kind.plural === "nodes" && followers.push(listener as (typeof followers)[number])),
  };
  const mirrored = options.through?.(plain) ?? plain;
  const links = await startLinkPath(ground, {
    mirrored,
    identity,
    enrolHandler: undefined,
    isSoleServer: () => role === "server",
    hasMoved: options.hasMoved ?? false,
    pointer: options.pointer,
    onPointerServed: options.onPointerServed ?? (() => undefined),
    listeners: { onPeer: options.onPeer ?? (() => undefined), onHub: () => undefined },
  });
  return {
    ground,
    identity,
    mirrored,
    links,
    /** What desired state says now. */
    tell: (nodes: readonly Node[]) => followers.forEach((listener) => listener(nodes)),
  };
}
