/**
 * The way of documents: gateway → [storage thread] merged, committed with fsync → the level reached →
 * the answer; and this store → the other nodes, by position in each origin's log. Nothing of it goes
 * to the hub.
 */
import { collectionKind, nodeKind, type Collection, type Node } from "../../api/index.ts";
import {
  connectDocumentStore,
  createDocumentRoutes,
  createDocumentWrites,
  createReplication,
  type CollectionDeclaration,
  type FieldType,
} from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Link } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";

export type DocumentsPath = {
  readonly routes: Routes;
  /** A link to another node of the cell stands. */
  attachPeer(link: Link): void;
};

export async function startDocumentsPath(
  ground: Ground,
  deps: { mirrored: Mirrored; trustDomain: string },
): Promise<DocumentsPath> {
  const { clock, random, log, lifecycle, record, storage } = ground;
  const { mirrored } = deps;
  const store = await lifecycle.start(
    "documents",
    () => connectDocumentStore(storage, { node: record.node }),
    // An ordered end keeps the origin; without it the next start looks like the one after a crash.
    (part) => part.close(),
  );
  const replication = await lifecycle.start(
    "documents replication",
    () =>
      createReplication(
        { store, clock, random, log },
        { node: record.node, trustDomain: deps.trustDomain, methods: "documents" },
      ),
    (part) => part.stop(),
  );
  replication.register(ground.router);
  let nodes: readonly string[] = [];
  const writes = await lifecycle.start(
    "documents durability",
    () =>
      createDocumentWrites({
        store,
        peers: replication,
        cellNodes: () => Math.max(1, nodes.length),
        clock,
      }),
    (part) => part.stop(),
  );

  mirrored.follow(collectionKind, (now: readonly Collection[]) => {
    store
      .declare(now.map(declarationOf))
      .catch((error: unknown) => log.error("collections were not declared", { error }));
  });
  mirrored.follow(nodeKind, (now: readonly Node[]) => {
    const before = nodes;
    nodes = now.map(({ metadata }) => metadata.name);
    for (const node of before) if (!nodes.includes(node)) replication.forget(node);
  });
  return {
    routes: createDocumentRoutes({ store, writes, clock }),
    attachPeer: (link) => replication.attach(link),
  };
}

function declarationOf({ metadata, spec }: Collection): CollectionDeclaration {
  return {
    name: metadata.name,
    schemaVersion: spec?.schemaVersion ?? 1,
    onMismatch: spec?.onMismatch === "warn" ? "warn" : "refuse",
    // The kind lets no other types in.
    fields: (spec?.fields ?? []).map(({ path, type, required }) => ({
      path,
      type: type as FieldType,
      required: required ?? false,
    })),
  };
}
