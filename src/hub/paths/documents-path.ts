/**
 * The way of cells' documents at the hub: a node's link → [storage thread] the second look → merged,
 * committed → readers. And of the hub's: written here → [storage thread] a log for each cell that it
 * is for → the question that a node keeps open.
 */
import {
  connectGlobalDocuments,
  createGlobalDocumentRoutes,
  registerGlobalDocuments,
  type GlobalCollectionStatus,
  type GlobalDocumentEvents,
  type GlobalDocumentMethods,
} from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Thread } from "../../runtime/thread/index.ts";
import type { Peer, Router } from "../../transport/index.ts";
import type { HubGround } from "../ground.ts";

export type HubDocumentsPath = {
  readonly routes: Routes;
  collections(): Promise<readonly GlobalCollectionStatus[]>;
};

export async function startDocumentsPath(
  { lifecycle, clock }: Pick<HubGround, "lifecycle" | "clock">,
  deps: {
    router: Router;
    thread: Pick<Thread<GlobalDocumentMethods, GlobalDocumentEvents>, "call" | "on">;
    cellOf: (peer: Peer) => string | undefined;
  },
): Promise<HubDocumentsPath> {
  const store = await lifecycle.start(
    "global documents",
    () => connectGlobalDocuments(deps.thread),
    (part) => part.close(),
  );
  registerGlobalDocuments(deps.router, { store, clock }, deps.cellOf);
  return {
    routes: createGlobalDocumentRoutes(store),
    collections: () => store.collections(),
  };
}
