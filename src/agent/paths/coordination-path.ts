/**
 * The way of an application's coordination: gateway → the ledger of this node, or over a link to any
 * server's → the ledger. The application's token goes all the way and is verified at both ends.
 */
import {
  callMethod,
  createCoordinationRoutes,
  createCoordinationService,
  createRemoteCoordination,
  measureCoordination,
  serveCoordination,
  streamMethod,
  type Coordination,
  type CoordinationRoutes,
} from "../../ledger/applications/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Peer } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";
import type { LinkPath } from "./link-path.ts";

export async function startCoordinationPath(
  ground: Ground,
  deps: {
    state: Pick<StatePath, "ledger" | "servers">;
    links: Pick<LinkPath, "linkTo">;
    identity: Pick<IdentityPath, "identity" | "authenticateToken">;
  },
): Promise<CoordinationRoutes> {
  const { clock, random, log, metrics, lifecycle, router } = ground;
  const { ledger } = deps.state;
  const coordination: Coordination = measureCoordination(
    ledger
      ? await lifecycle.start(
          "coordination",
          () => createCoordinationService({ ledger, clock, random, log }),
          (part) => part.close(),
        )
      : createRemoteCoordination({ servers: () => serversOf(deps), clock }),
    { metrics },
  );
  if (ledger) {
    const { authenticateToken: authenticate } = deps.identity;
    const { trustDomain } = deps.identity.identity.trust;
    const handlers = serveCoordination({ coordination, authenticate });
    router.handle(callMethod, ({ peer, body, signal }) => {
      requireNode(peer, trustDomain);
      return handlers.call(body, signal);
    });
    router.handle(streamMethod, ({ peer, body, signal }) => {
      requireNode(peer, trustDomain);
      return handlers.stream(body, signal);
    });
  }
  return createCoordinationRoutes({ coordination, clock });
}

/** Servers that have a link to this node now. */
function serversOf({
  state,
  links,
}: {
  state: Pick<StatePath, "servers">;
  links: Pick<LinkPath, "linkTo">;
}) {
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
