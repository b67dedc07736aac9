/**
 * The way of a wish: kubectl → apiserver → resources → ledger (servers), or through a server's API
 * (other nodes) → this node's mirror → the pod runner → the keeper. And back: what the pods do →
 * resources. Every node serves the API; one that is no server passes connections on.
 */
import {
  createApiServer,
  listenForwarder,
  type ApiServer,
  type MountedRoute,
  type PodLogs,
} from "../../apiserver/index.ts";
import { authorize } from "../../authorization/index.ts";
import {
  addressOf as addressOfNode,
  kinds,
  nodeKind,
  endpointsOf,
  type Node,
  type NodeEndpoints,
  type NodeVerdict,
} from "../../api/index.ts";
import { verifyPeer, verifyServer } from "../../identity/index.ts";
import type { Ledger, SwitchingLedger } from "../../ledger/index.ts";
import {
  connectMirrorStore,
  createLedgerResources,
  createMirror,
  createRemoteResources,
  ensureNamespaces,
  type LedgerResources,
  type Mirror,
  type Resources,
} from "../../resources/index.ts";
import { mirrorScopes } from "../bindings.ts";
import type { Ground } from "../ground.ts";
import { addressOf } from "../host-port.ts";
import { readsWithoutQuorum } from "../quorum-resources.ts";
import { createMirrored, type Mirrored } from "../mirrored.ts";
import { createSilence, type Silence } from "../silence.ts";
import { createWhereabouts, type Whereabouts } from "../whereabouts.ts";
import type { IdentityPath } from "./identity-path.ts";
import { measureApi } from "./metrics-path.ts";

export type StatePath = {
  /** Servers only. */
  readonly ledger: Ledger | undefined;
  /** The source: the ledger's on a server, a server's API elsewhere. */
  readonly upstream: Resources;
  /** Servers only: the same, with every write on condition of a fence. */
  readonly fenced: LedgerResources["fenced"] | undefined;
  readonly mirror: Mirror;
  readonly mirrored: Mirrored;
  readonly whereabouts: Whereabouts;
  /** Whether others may look for this node where it was before. */
  readonly hasMoved: boolean;
  /** What the disk or a server said; false on a cold start that has seen neither. */
  readonly isKnown: () => boolean;
  /** Servers of the cell, this node excluded. */
  readonly servers: () => readonly NodeEndpoints[];
  /** A server's API, HOST:PORT, that no Node tells of: desired state may come from another machine now. */
  readonly learnServer: (api: string) => void;
  /** Which of them nobody hears; told by the failover path. */
  readonly silence: Silence;
};

/** Desired state, from the disk first. */
export async function startStatePath(
  ground: Ground,
  { identity, time }: IdentityPath,
  ledger: SwitchingLedger | undefined,
): Promise<StatePath> {
  const { clock, random, log, lifecycle, record, storage } = ground;

  let nodes: readonly NodeEndpoints[] = [];
  const servers = () => nodes.filter(({ isServer, node }) => isServer && node !== record.node);
  const silence = createSilence(servers);
  let learnt: string | undefined;
  const onLedger = ledger && createLedgerResources({ ledger, clock, random });
  const upstream: Resources = onLedger
    ? onLedger
    : await lifecycle.start(
        "remote resources",
        () =>
          createRemoteResources(
            { clock, log },
            {
              servers: () => {
                const known = servers().map(({ host, ports }) => ({ host, port: ports.api }));
                const told = known.length > 0 ? learnt : (learnt ?? record.serverApi);
                return told === undefined ? known : [...known, addressOf(told)];
              },
              credentials: () => ({ ...identity.identity, anchorsPem: identity.trust.anchorsPem }),
              servername: `api.${identity.trust.trustDomain}`,
              judgeServer: (socket) =>
                verifyServer(socket, identity.trust, time.nowMs(), {
                  host: `api.${identity.trust.trustDomain}`,
                }),
              node: record.node,
              silence,
            },
          ),
        (part) => part.close(),
      );
  // A cell has them from its first start on; a server that waits for a quorum must not wait here.
  if (ledger?.engine) await ensureNamespaces(upstream);

  const mirror = await lifecycle.start(
    "mirror",
    async () => {
      const part = createMirror(
        {
          upstream,
          store: connectMirrorStore(storage),
          clock,
          random,
          log,
          onUpstreamChange(listener) {
            const ends = [silence.onChange(listener), ledger?.onChange(listener)];
            return () => {
              for (const end of ends) end?.();
            };
          },
        },
        { scopes: mirrorScopes(record) },
      );
      await part.start();
      return part;
    },
    (part) => part.stop(),
  );
  // This node's own Node is in every mirror that was ever filled.
  const own = await mirror.get(nodeKind, { name: record.node });
  const hadState = own !== undefined;
  const told = own && addressOfNode(own, "InternalIP");
  const hasMoved = [told, ground.formerHost].some(
    (host) => host !== undefined && host !== record.host,
  );
  const stopping = new AbortController();
  const plain = await lifecycle.start(
    "mirror's followers",
    () => createMirrored({ resources: mirror, clock, log, signal: stopping.signal }),
    () => stopping.abort(),
  );
  const whereabouts = createWhereabouts({ log }, plain);
  const { mirrored } = whereabouts;
  mirrored.follow(nodeKind, (objects: readonly Node[]) => {
    nodes = objects.flatMap((node) => endpointsOf(node) ?? []);
  });
  const isKnown = () => hadState || mirror.synced;
  const fenced = onLedger?.fenced;
  const learnServer = (api: string) => {
    learnt = api;
  };
  return {
    ...{ ledger, upstream, fenced, mirror, mirrored, whereabouts, hasMoved },
    ...{ isKnown, servers, learnServer, silence },
  };
}

export type ApiPath = {
  /** HOST:PORT. */
  readonly address: string;
  readonly port: number;
  /** At an address of the cell as well. */
  readonly alsoAt: ApiServer["alsoAt"];
};

/** The cell's API on this node's port. */
export async function startApiPath(
  ground: Ground,
  deps: {
    state: StatePath;
    identity: IdentityPath;
    podLogs: PodLogs;
    routes: readonly MountedRoute[];
    verdicts: () => ReadonlyMap<string, NodeVerdict>;
    /** Servers: whether a majority of them answers. */
    hasQuorum: () => boolean;
  },
): Promise<ApiPath> {
  const { clock, log, lifecycle, record } = ground;
  const { identity, time } = deps.identity;
  const { state } = deps;
  const mirrored = new Set(mirrorScopes(record).map(({ kind }) => `${kind.group}/${kind.plural}`));
  const credentials = () => ({
    key: identity.serving.keyPem,
    cert: identity.serving.chainPem,
    ca: [...identity.trust.anchorsPem],
  });
  const api = await lifecycle.start(
    "api",
    () =>
      createApiServer(
        {
          resources: state.ledger
            ? readsWithoutQuorum({
                ledger: state.upstream,
                mirror: state.mirror,
                hasQuorum: deps.hasQuorum,
                mirrors: (kind) => mirrored.has(`${kind.group}/${kind.plural}`),
              })
            : state.mirror,
          kinds,
          authenticate: (socket) => {
            const verdict = verifyPeer(socket, [identity.trust], time.nowMs());
            return verdict.ok ? verdict.subject : undefined;
          },
          authorize,
          podLogs: deps.podLogs,
          tracer: ground.tracer,
          onAnswered: measureApi(ground),
          clock,
          log,
        },
        {
          credentials: credentials(),
          routes: deps.routes,
          notReady: () => notReady(state),
        },
      ),
    (part) => part.close(),
  );
  identity.onChange(() => api.rotate(credentials()));
  const at = { host: record.host, port: record.ports.api };
  if (state.ledger) {
    const { host, port } = await api.listen(at);
    return { address: `${host}:${port}`, port, alsoAt: (also) => api.alsoAt(also) };
  }
  const forwarder = await lifecycle.start(
    "api forwarder",
    () =>
      listenForwarder({ clock, log, local: api }, at, {
        servers: () => {
          const verdicts = deps.verdicts();
          return state
            .servers()
            .filter(
              ({ node }) =>
                !["unreachable", "agent-down"].includes(verdicts.get(node)?.state ?? "alive"),
            )
            .map(({ host, ports }) => ({ host, port: ports.api }));
        },
      }),
    (part) => part.close(),
  );
  const { host, port } = forwarder;
  return { address: `${host}:${port}`, port, alsoAt: (also) => forwarder.alsoAt(also) };
}

/** Why this node cannot do its work yet, for `/readyz` of the API and the gateway. */
export const notReady = ({ isKnown }: Pick<StatePath, "isKnown">): string | undefined =>
  isKnown()
    ? undefined
    : "desired state is not known yet: no server was reached since this node joined";
