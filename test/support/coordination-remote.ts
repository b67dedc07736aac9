/** Coordination as a node that is no server has it: real links, of which each can be cut. */
import type { TestContext } from "node:test";
import {
  applicationMethods,
  createRemoteCoordination,
  serveCoordination,
  type Coordination,
  type LinkMethods,
  type RemoteCoordinationOptions,
} from "../../src/ledger/applications/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import type { Link } from "../../src/transport/index.ts";
import { authenticate, patientMs } from "./coordination.ts";
import { testCell, testPair, type TestPair } from "./transport.ts";

export type TestServer = { readonly pair: TestPair; readonly link: () => Link | undefined };

/** A server whose link answers with `coordination`; the node at the other end has dialled it. */
export async function startServer(
  t: TestContext,
  coordination: Coordination,
  methods: LinkMethods = applicationMethods,
): Promise<TestServer> {
  const pair = await testPair(await testCell());
  t.after(() => pair[Symbol.asyncDispose]());
  const handlers = serveCoordination({ coordination, authenticate });
  pair.acceptor.handle(methods.call, ({ peer, body, signal }) =>
    handlers.call(body, peer.id, signal),
  );
  pair.acceptor.handle(methods.stream, ({ peer, body, signal }) =>
    handlers.stream(body, peer.id, signal),
  );
  return { pair, link: () => pair.dialled.link };
}

/** The node's side, over whichever of the servers has a link. */
export function remoteOf(
  servers: readonly TestServer[],
  options: RemoteCoordinationOptions = {},
): Coordination {
  return createRemoteCoordination(
    {
      clock: systemClock,
      servers: () =>
        servers.flatMap(({ link }, index) => {
          const now = link();
          return now
            ? [{ node: `s${index}`, request: now.request.bind(now), open: now.open.bind(now) }]
            : [];
        }),
    },
    { timeoutMs: patientMs, hurriedMs: patientMs, ...options },
  );
}
