/** The way in for a node's applications: one HTTP listener, their tokens, the routes of other ways. */
import { createGateway, type Gateway } from "../../gateway/index.ts";
import type { CoordinationRoutes } from "../../ledger/applications/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Ground } from "../ground.ts";
import { notReady, type StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";

export async function startGatewayPath(
  { clock, log, metrics, tracer, lifecycle, record }: Ground,
  deps: {
    identity: Pick<IdentityPath, "authenticateToken">;
    state: Pick<StatePath, "isKnown">;
    coordination: CoordinationRoutes;
    routes: readonly Routes[];
    /** Other ways with answers that last. */
    streams: readonly { endStreams(): void }[];
  },
): Promise<Gateway> {
  const { identity, state, coordination, routes, streams } = deps;
  const gateway = await lifecycle.start(
    "gateway",
    () =>
      createGateway(
        {
          authenticate: identity.authenticateToken,
          routes: [...routes, coordination.routes],
          clock,
          log,
          metrics,
          tracer,
          notReady: () => notReady(state),
        },
        { host: record.host, port: record.ports.gateway },
      ),
    (part) => part.stop(),
  );
  // Stopped before the gateway, which would wait for them.
  await lifecycle.start(
    "streams of applications",
    () => [coordination, ...streams],
    (parts) => {
      for (const part of parts) part.endStreams();
    },
  );
  return gateway;
}
