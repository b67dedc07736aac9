/**
 * The way of an application's coordination: gateway → the ledger of this node, or over a link to any
 * server's → the ledger. The application's token goes all the way and is verified at both ends.
 */
import {
  applicationMethods,
  applicationSpace,
  createCoordinationRoutes,
  createCoordinationService,
  createRemoteCoordination,
  measureCoordination,
  serveCoordination,
  type Coordination,
  type CoordinationRoutes,
  type LinkMethods,
  type LinkShare,
  type Space,
} from "../../ledger/applications/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Peer } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";
import type { LinkPath } from "./link-path.ts";

export type CoordinationDeps = {
  readonly state: Pick<StatePath, "ledger" | "servers">;
  readonly links: Pick<LinkPath, "linkTo">;
  readonly identity: Pick<IdentityPath, "identity" | "authenticateToken">;
};

export async function startCoordinationPath(
  ground: Ground,
  deps: CoordinationDeps,
): Promise<CoordinationRoutes> {
  const { clock, metrics } = ground;
  const coordination = measureCoordination(
    await startSpace(ground, deps, {
      name: "coordination",
      space: applicationSpace,
      methods: applicationMethods,
    }),
    { metrics },
  );
  return createCoordinationRoutes({ coordination, clock });
}

/** A part of the ledger as every node has it: its own, or that of a server at the other end of a link. */
export async function startSpace(
  ground: Ground,
  deps: CoordinationDeps,
  how: {
    name: string;
    space: Space;
    methods: LinkMethods;
    share?: LinkShare;
    /** Nodes ask for themselves, known by their links. */
    byNode?: boolean;
  },
): Promise<Coordination> {
  const { clock, random, log, lifecycle, router } = ground;
  const { ledger } = deps.state;
  const { space, methods, share } = how;
  if (!ledger) {
    const servers = () => serversOf(deps);
    return createRemoteCoordination(
      { servers, clock },
      { methods, ...(share === undefined ? {} : { share }) },
    );
  }
  const coordination = await lifecycle.start(
    how.name,
    () => createCoordinationService({ ledger, clock, random, log }, { space }),
    (part) => part.close(),
  );
  const { authenticateToken } = deps.identity;
  const authenticate = how.byNode
    ? async (_token: string, id: string) => ({ id })
    : authenticateToken;
  const { trustDomain } = deps.identity.identity.trust;
  const handlers = serveCoordination({ coordination, authenticate });
  router.handle(methods.call, ({ peer, body, signal }) => {
    requireNode(peer, trustDomain);
    return handlers.call(body, peer.id, signal);
  });
  router.handle(methods.stream, ({ peer, body, signal }) => {
    requireNode(peer, trustDomain);
    return handlers.stream(body, peer.id, signal);
  });
  return coordination;
}

/** Servers that have a link to this node now. */
function serversOf({ state, links }: Pick<CoordinationDeps, "state" | "links">) {
  return state.servers().flatMap(({ node }) => {
    const link = links.linkTo(node);
    if (!link || link.closed.aborted) return [];
    return [
      {
        node,
        request: link.request.bind(link),
        open: link.open.bind(link),
      },
    ];
  });
}

function requireNode(peer: Peer, trustDomain: string): void {
  if (peer.trustDomain === trustDomain && peer.path[0] === "node") return;
  throw new SkerryError({
    code: "forbidden",
    message: `${peer.id} may not ask for coordination here`,
    hint: "the nodes of this cell may",
  });
}
