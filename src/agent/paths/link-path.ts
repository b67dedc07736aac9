/**
 * The ways between machines: one mTLS link to every other node of the cell (of two nodes the one
 * with the smaller name dials), and from every node to the hub. What travels on them are requests by
 * method name, which other paths register on the router.
 *
 * Who is where nobody looks for it dials those as well that should dial it and do not: a cell's only
 * server, restored under another name or address, a node whose own address changed, and one that has no
 * link to any server: the cell may have been restored as it was before this node joined. One that finds
 * nobody either, since all have moved, is pointed at one of them by a person.
 */
import { nodeKind, endpointsOf, type Node, type NodeEndpoints } from "../../api/index.ts";
import { every } from "../../lib/clock.ts";
import { spiffeId } from "../../identity/index.ts";
import {
  dial,
  listen,
  parseProxy,
  type DialledLink,
  type EnrolHandler,
  type Link,
  type Listener,
  type Peer,
} from "../../transport/index.ts";
import { followHubAddress } from "../cell-hub.ts";
import type { Ground } from "../ground.ts";
import { addressOf } from "../host-port.ts";
import type { Mirrored } from "../mirrored.ts";
import type { IdentityPath } from "./identity-path.ts";

export type LinkPath = {
  /** HOST:PORT of the peers port. */
  readonly address: string;
  readonly port: number;
  /** The link to a node now, whoever dialled it. */
  linkTo(node: string): Link | undefined;
  /** Whom there is a link with now, nodes among them that desired state does not know (yet). */
  linked(): readonly string[];
  readonly hub: {
    readonly link: Link | undefined;
    readonly address: string | undefined;
    /** Why there is no link, or why the cell is not enrolled: what a hub that is missing is about. */
    readonly failure: Error | undefined;
    /** The outcome of an enrolment at the hub. */
    enrolment(failure: Error | undefined): void;
  };
};

const isNode = ({ path }: Peer) => path[0] === "node" && path.length === 2;

export type LinkListeners = { onPeer(link: Link): void; onHub(link: Link): void };

/** Whoever knows the address has called by then. */
const silentEveryMs = 5000;

export async function startLinkPath(
  ground: Ground,
  deps: {
    mirrored: Mirrored;
    identity: IdentityPath;
    /** Servers only. */
    enrolHandler: EnrolHandler | undefined;
    /** Whether this node holds the cell's ledger alone. */
    isSoleServer: () => boolean;
    /** Whether the others look for it at another address. */
    hasMoved: boolean;
    /** HOST:PORT of the peers port of any node, from a person. */
    pointer: string | undefined;
    /** It led to a node that is found without it by now. */
    onPointerServed: () => void;
    listeners: LinkListeners;
  },
): Promise<LinkPath> {
  const { clock, random, log, lifecycle, record, router, nowMs } = ground;
  const { identity, time } = deps.identity;
  const { enrolHandler, listeners } = deps;
  const { trustDomain } = identity.trust;
  const idOf = (node: string) => spiffeId(trustDomain, "node", node).id;
  const common = {
    credentials: () => identity.identity,
    router,
    time,
  };

  const listener = await lifecycle.start(
    "peers listener",
    (): Promise<Listener> =>
      listen(
        { clock, log, nowMs },
        {
          ...common,
          host: record.host,
          port: record.ports.peers,
          trusts: () => [identity.trust],
          ...(enrolHandler ? { enrol: enrolHandler } : {}),
        },
      ),
    (part) => part.close(),
  );
  listener.on("up", (link) => {
    listeners.onPeer(link);
    // It knows the way again: one link is enough.
    const [, name = ""] = link.peer.path;
    if (name < record.node) hangUp(name);
  });

  const endpointsByNode = new Map<string, NodeEndpoints>();
  const dialledByNode = new Map<string, DialledLink>();
  const dialPeer = (node: string) => {
    const dialled = dial(
      { clock, random, log, nowMs },
      {
        ...common,
        // Asked before each attempt: a node may come back under another address.
        address: () => {
          const known = endpointsByNode.get(node);
          return known && { host: known.host, port: known.ports.peers };
        },
        expect: idOf(node),
        trusts: () => [identity.trust],
        backoff: { initialMs: 100, maxMs: 2000 },
      },
    );
    dialled.on("up", (link) => listeners.onPeer(link));
    dialledByNode.set(node, dialled);
  };
  const hangUp = (node: string) => {
    const dialled = dialledByNode.get(node);
    dialledByNode.delete(node);
    dialled?.close().catch((error: unknown) => log.warn("a link did not close", { node, error }));
  };
  await lifecycle.start(
    "links to peers",
    () => dialledByNode,
    async (dialled) => {
      await Promise.all([...dialled.values()].map((one) => one.close()));
    },
  );
  deps.mirrored.follow(nodeKind, (nodes: readonly Node[]) => {
    const others = nodes
      .flatMap((node) => endpointsOf(node) ?? [])
      .filter(({ node }) => node !== record.node);
    for (const endpoints of others) {
      const { node } = endpoints;
      endpointsByNode.set(node, endpoints);
      if (node > record.node && !dialledByNode.has(node)) dialPeer(node);
    }
    for (const node of endpointsByNode.keys()) {
      if (nodes.some(({ metadata }) => metadata.name === node)) continue;
      endpointsByNode.delete(node);
      hangUp(node);
    }
  });
  let pointed: DialledLink | undefined;
  const pointedNode = () => pointed?.link?.peer.path[1];
  const linkTo = (node: string) =>
    dialledByNode.get(node)?.link ??
    listener.link(idOf(node)) ??
    (pointedNode() === node ? pointed?.link : undefined);
  const hearsServer = () =>
    [...endpointsByNode.values()].some(({ isServer, node }) => isServer && linkTo(node));
  let looksWithoutServer = 0;
  const dialSilent = () => {
    looksWithoutServer = hearsServer() ? 0 : looksWithoutServer + 1;
    // At a first look those who call may be on their way.
    if (!deps.isSoleServer() && !deps.hasMoved && looksWithoutServer < 2) return;
    for (const node of endpointsByNode.keys())
      if (!dialledByNode.has(node) && !listener.link(idOf(node))) dialPeer(node);
  };
  await lifecycle.start(
    "links to those who do not call",
    () =>
      every(clock, silentEveryMs, dialSilent, (error) => log.warn("nobody is called", { error })),
    (timer) => timer.cancel(),
  );

  if (deps.pointer !== undefined) {
    const address = addressOf(deps.pointer);
    pointed = await lifecycle.start(
      "link where a person pointed",
      () =>
        dial(
          { clock, random, log, nowMs },
          {
            ...common,
            address,
            expect: trustDomain,
            trusts: () => [identity.trust],
            backoff: { initialMs: 100, maxMs: 2000 },
          },
        ),
      (part) => part.close(),
    );
    pointed.on("up", (link) => listeners.onPeer(link));
  }
  const letGoOfPointer = async () => {
    const name = pointedNode();
    if (name === undefined || !(dialledByNode.get(name)?.link ?? listener.link(idOf(name)))) return;
    const served = pointed;
    pointed = undefined;
    deps.onPointerServed();
    await served?.close();
  };
  await lifecycle.start(
    "pointer's end",
    () =>
      every(clock, silentEveryMs, letGoOfPointer, (error) =>
        log.warn("the link where a person pointed did not close", { error }),
      ),
    (timer) => timer.cancel(),
  );

  let hubAddress: string | undefined;
  let hub: DialledLink | undefined;
  let enrolmentFailure: Error | undefined;
  const dialHub = async () => {
    if (hub || hubAddress === undefined || !identity.hubTrust) return;
    const { trustDomain: expect } = identity.hubTrust;
    hub = await lifecycle.start(
      "hub link",
      () =>
        dial(
          { clock, random, log, nowMs },
          {
            ...common,
            address: () => (hubAddress === undefined ? undefined : addressOf(hubAddress)),
            proxy: record.hubProxy === undefined ? undefined : parseProxy(record.hubProxy),
            expect,
            trusts: () => identity.trusts,
            backoff: { initialMs: 200, maxMs: 5000 },
          },
        ),
      (part) => part.close(),
    );
    hub.on("up", (link) => listeners.onHub(link));
  };
  followHubAddress({ record, mirrored: deps.mirrored }, (address) => (hubAddress = address));
  // Trust in the hub may come later, with the next answer of a server.
  await lifecycle.start(
    "hub dialler",
    () => every(clock, 1000, dialHub, (error) => log.warn("the hub is not dialled", { error })),
    (timer) => timer.cancel(),
  );

  identity.onChange(() => {
    listener.refresh();
    for (const dialled of dialledByNode.values()) dialled.refresh();
    pointed?.refresh();
    hub?.refresh();
  });

  return {
    address: `${record.host}:${listener.port}`,
    port: listener.port,
    linked: () => {
      const ids = listener.links().map(({ peer }) => peer);
      const callers = ids.filter((peer) => peer.trustDomain === trustDomain && isNode(peer));
      const called = [...dialledByNode].filter(([, { link }]) => link).map(([node]) => node);
      const names = [...called, ...callers.map(({ path: [, name = ""] }) => name)];
      return [...new Set([...names, pointedNode() ?? ""])].filter((name) => name !== "");
    },
    linkTo,
    hub: {
      get link() {
        return hub?.link;
      },
      get address() {
        return hubAddress;
      },
      get failure() {
        return hub?.link ? undefined : (enrolmentFailure ?? hub?.lastFailure);
      },
      enrolment(failure) {
        enrolmentFailure = failure;
      },
    },
  };
}
