/**
 * The way of documents: gateway → [storage thread] merged, committed with fsync → the level reached →
 * the answer; this store → the other nodes, by position in each origin's log; and [storage thread]
 * the egress gate → the hub's link.
 */
import { collectionKind, isStrong, nodeKind, type Collection, type Node } from "../../api/index.ts";
import {
  connectDocumentHub,
  connectDocumentStore,
  createDocumentRoutes,
  createDocumentsPull,
  createDocumentsSync,
  createDocumentWrites,
  createExpiring,
  createHubNews,
  createReplication,
  createTruncation,
  wordOfDocuments,
  type CollectionDeclaration,
  type DocumentsSync,
  type DocumentStore,
  type HubBudget,
  type FieldType,
  type StrongDocumentRoutes,
} from "../../data/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { createOperationRecheck } from "../../privacy/gate/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Link } from "../../transport/index.ts";
import { followHubAddress } from "../cell-hub.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { ClearedBytes } from "../storage.ts";

export type DocumentsPath = {
  /** With collections that stand in the ledger. */
  readonly routes: (strong?: StrongDocumentRoutes) => Routes;
  readonly store: Pick<DocumentStore, "on">;
  readonly hub: DocumentsSync<ClearedBytes>;
  /** Nodes that tell of more of what was written here than they can show. */
  doubted(): readonly string[];
  /** A link to another node of the cell stands. */
  attachPeer(link: Link): void;
  /** A link to the hub stands. */
  attachHub(link: Link): void;
};

export async function startDocumentsPath(
  ground: Ground,
  deps: { mirrored: Mirrored; trustDomain: string; budget: HubBudget },
): Promise<DocumentsPath> {
  const { clock, random, log, lifecycle, record, storage } = ground;
  const { mirrored } = deps;
  const store = await lifecycle.start(
    "documents",
    () => connectDocumentStore<ClearedBytes>(storage, { node: record.node }),
    // Its marker says that nothing was cut off.
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
  const hub = await lifecycle.start(
    "documents hub sync",
    () =>
      createDocumentsSync<ClearedBytes>(
        { store, egress: store, lets: createOperationRecheck().lets, clock, random, log },
        { node: record.node, budget: deps.budget },
      ),
    (part) => part.stop(),
  );
  const pull = await lifecycle.start(
    "documents of the hub",
    () => createDocumentsPull({ store, clock, random, log }),
    (part) => part.stop(),
  );
  let hasHub = false;
  followHubAddress({ record, mirrored }, () => (hasHub = true));
  const news = await lifecycle.start(
    "hub news of documents",
    () =>
      createHubNews(
        { word: wordOfDocuments(hub), hasHub: () => hasHub, clock, log },
        { methods: "documents", trustDomain: deps.trustDomain },
      ),
    (part) => part.stop(),
  );
  news.register(ground.router);
  let nodes: readonly string[] = [];
  const writes = await lifecycle.start(
    "documents durability",
    () =>
      createDocumentWrites({
        store,
        peers: replication,
        ...{ hub, hasHub: () => hasHub },
        cellNodes: () => Math.max(1, nodes.length),
        clock,
      }),
    (part) => part.stop(),
  );

  await lifecycle.start(
    "documents truncation",
    () =>
      createTruncation(
        {
          store,
          peers: replication,
          nodes: () => nodes,
          ...{ hub, hasHub: () => hasHub },
          clock,
          log,
        },
        { node: record.node },
      ),
    (part) => part.stop(),
  );

  const expired = ground.metrics.counter(
    "skerry_documents_expired_total",
    "Documents that this node deleted because nobody had changed them for the retention of their collection.",
    ["collection"],
  );
  const expiring = await lifecycle.start(
    "documents retention",
    () =>
      createExpiring(
        {
          store,
          nodes: () => nodes,
          clock,
          log,
          onDeleted: (collection, documents) => expired.inc({ collection }, documents),
        },
        { node: record.node },
      ),
    (part) => part.stop(),
  );

  mirrored.follow(collectionKind, (now: readonly Collection[]) => {
    const declarations = now.filter((each) => !isStrong(each)).map(declarationOf);
    store
      .declare(declarations)
      // The gate has to know a policy before anything is asked of it by that.
      .then(() => {
        hub.declare(declarations);
        expiring.declare(declarations);
        pull.declare(
          declarations.flatMap(({ name, readOnly, fromHub }) =>
            readOnly || fromHub ? [name] : [],
          ),
        );
      })
      .catch((error: unknown) => log.error("collections were not declared", { error }));
  });
  mirrored.follow(nodeKind, (now: readonly Node[]) => {
    nodes = now.map(({ metadata }) => metadata.name);
    replication.setNodes(nodes);
  });
  return {
    routes: (strong) =>
      createDocumentRoutes({ store, writes, clock, ...(strong ? { strong } : {}) }),
    store,
    hub,
    doubted: () => replication.doubted(),
    attachPeer(link) {
      replication.attach(link);
      news.attach(link);
    },
    attachHub(link) {
      const connected = connectDocumentHub<ClearedBytes>(link);
      hub.attach(connected, link.closed);
      pull.attach(connected, link.closed);
    },
  };
}

export function declarationOf({ metadata, spec }: Collection): CollectionDeclaration {
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
    ...(spec?.scope === "hubToCells" ? { readOnly: true } : {}),
    ...(spec?.scope === "both" ? { fromHub: true } : {}),
    ...(spec?.egress === undefined
      ? {}
      : {
          egress: {
            policy: spec.egress,
            revision: Number(metadata.resourceVersion ?? 0),
          },
        }),
    ...(spec?.retention === undefined
      ? {}
      : { retention: { maxAgeMs: parseDurationMs(spec.retention.maxAge, "maxAge") } }),
    ...(spec?.priority === undefined ? {} : { priority: spec.priority }),
    indexes: (spec?.indexes ?? []).map(({ path }) => path),
    unique: (spec?.unique ?? []).map(({ paths }) => ({ paths })),
    references: (spec?.references ?? []).map(({ path, collection, onDelete }) => ({
      path,
      collection,
      onDelete: onDelete === "keep" ? "keep" : "refuse",
    })),
  };
}
