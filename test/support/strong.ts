/** Strong collections for tests: a server with a ledger, nodes beyond a real link, each behind a gateway. */
import type { TestContext } from "node:test";
import { join } from "node:path";
import { strongLedgerOf } from "../../src/agent/strong-ledger.ts";
import { createDocuments, type DocumentClient } from "../../src/client/index.ts";
import {
  createDocumentRoutes,
  createStrongDocumentRoutes,
  createStrongDocuments,
  createStrongQueries,
  createQueryRoutes,
  strongProblemOf,
  strongReceiptProblemOf,
  type CollectionDeclaration,
} from "../../src/data/index.ts";
import { createGateway } from "../../src/gateway/index.ts";
import {
  collectionMethods,
  collectionShare,
  collectionSpace,
  createCoordinationService,
  type Coordination,
  type CoordinationLimits,
} from "../../src/ledger/applications/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { authenticate, patientMs } from "./coordination.ts";
import { remoteOf, startServer, type TestServer } from "./coordination-remote.ts";
import { openDocuments } from "./documents.ts";
import { hostDeps, temporaryFolder } from "./ledger.ts";

export const accounts: CollectionDeclaration = {
  name: "accounts",
  schemaVersion: 3,
  onMismatch: "refuse",
  fields: [
    { path: "/owner", type: "string", required: true },
    { path: "/balance", type: "counter", required: false },
    { path: "/tags", type: "set", required: false },
    { path: "/steps", type: "list", required: false },
  ],
};

/** What a server with this ledger answers for strong collections. */
export function strongService(
  t: TestContext,
  ledger: Ledger,
  {
    clock = hostDeps.clock,
    ...options
  }: { limits?: Partial<CoordinationLimits>; timeoutMs?: number; clock?: Clock } = {},
  collection = accounts.name,
): Coordination {
  const isStrong = (name: string) => name === collection;
  const service = createCoordinationService(
    { ...hostDeps, clock, ledger },
    {
      space: collectionSpace({
        isStrong,
        problemOf: strongProblemOf,
        receiptProblemOf: strongReceiptProblemOf,
      }),
      timeoutMs: patientMs,
      ...options,
    },
  );
  t.after(() => service.close());
  return service;
}

/** The end of a link to a server that answers with `service`. */
export const startStrongServer = (t: TestContext, service: Coordination): Promise<TestServer> =>
  startServer(t, service, collectionMethods);

export const strongRemote = (servers: readonly TestServer[]): Coordination =>
  remoteOf(servers, { methods: collectionMethods, share: collectionShare });

export type StrongNode = { readonly url: string; readonly client: DocumentClient };

/** A node's gateway, with a collection in the ledger behind `coordination` and `items`, which merges. */
export async function startStrongNode(
  t: TestContext,
  coordination: Coordination,
  declared = accounts,
): Promise<StrongNode> {
  const { clock, random, log } = hostDeps;
  const folder = await temporaryFolder();
  const store = await openDocuments(join(folder.path, "documents.db"));
  const ledger = strongLedgerOf(coordination);
  const documents = createStrongDocuments({ ledger, clock, random });
  documents.declare([declared]);
  const strong = createStrongDocumentRoutes({
    strong: documents,
    queries: createStrongQueries({ ledger, clock }),
    clock,
  });
  const notHere = async () => {
    throw new Error("no test here asks for a collection that merges");
  };
  const writes = { write: notHere };
  const gateway = await createGateway(
    {
      authenticate,
      routes: [
        createDocumentRoutes({ store, writes, clock, strong }),
        createQueryRoutes({
          queries: { documents: notHere, entries: notHere },
          live: { open: notHere },
          strong,
          declared: { isCollection: () => false, isStream: () => false },
        }),
      ],
      clock,
      log,
      metrics: createMetrics(),
    },
    { host: "127.0.0.1", port: 0 },
  );
  t.after(async () => {
    strong.endStreams();
    await gateway.stop();
    await store.close();
    await folder[Symbol.asyncDispose]();
  });
  return {
    url: gateway.url,
    client: createDocuments({ url: gateway.url, token: "good-a" }),
  };
}
