/**
 * The way of a question: gateway → [queries' thread] read-only connections to this node's files → the
 * answer; and of a live query, after each commit of documents the same way again.
 */
import { join } from "node:path";
import {
  collectionKind,
  isStrong,
  stable,
  streamKind,
  type Collection,
  type KindDefinition,
  type KubeObject,
} from "../../api/index.ts";
import {
  createLiveQueries,
  createQueries,
  createQueryRoutes,
  createSql,
  createSqlRoutes,
  type DocumentStore,
  type SqlDeclared,
  type StrongDocumentRoutes,
} from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";

export type QueriesPath = {
  /** With `strong`, also of collections that stand in the ledger. */
  routes(strong: StrongDocumentRoutes): Routes;
  /** Ends live queries: their clients go on elsewhere, or here after a restart. */
  endStreams(): void;
};

export async function startQueriesPath(
  { clock, random, log, metrics, lifecycle, dataDir }: Ground,
  { mirrored, documents }: { mirrored: Mirrored; documents: Pick<DocumentStore, "on"> },
): Promise<QueriesPath> {
  const files = {
    documentsPath: join(dataDir, "documents.db"),
    streamsPath: join(dataDir, "streams.db"),
  };
  const queries = await lifecycle.start(
    "queries",
    () => createQueries({ clock }, files),
    (part) => part.stop(),
  );
  const [isCollection, isStream] = [collectionKind, streamKind].map((kind) =>
    namesOf(mirrored, kind),
  ) as [Known, Known];
  const live = createLiveQueries({ thread: queries.live, clock, random, log, metrics });
  documents.on("grown", ({ collections }) => live.grown(collections));
  mirrored.follow(collectionKind, (now: readonly Collection[]) =>
    live.declare(new Map(now.map(({ metadata, spec }) => [metadata.name, stable(spec)]))),
  );
  const sql = createSql({ clock, declared: declarations(mirrored) }, files);
  const ofSql = createSqlRoutes(sql);
  return {
    routes(strong) {
      const ofQueries = createQueryRoutes({
        queries,
        live,
        strong,
        declared: { isCollection, isStream },
      });
      return (app) => {
        ofQueries(app);
        ofSql(app);
      };
    },
    endStreams: () => live.stop(),
  };
}

/** Names and fields that statements find as views and columns. */
function declarations(mirrored: Mirrored): () => SqlDeclared {
  let declared: SqlDeclared = { collections: [], streams: [] };
  mirrored.follow(collectionKind, (now: readonly Collection[]) => {
    const collections = now
      .filter((each) => !isStrong(each))
      .map(({ metadata: { name }, spec }) => ({
        name,
        fields: (spec?.fields ?? []).map(({ path }) => path),
      }));
    declared = { ...declared, collections };
  });
  mirrored.follow(streamKind, (now) => {
    declared = { ...declared, streams: now.map(({ metadata }) => metadata.name) };
  });
  return () => declared;
}

type Known = (name: string) => boolean;

function namesOf(mirrored: Mirrored, kind: KindDefinition<KubeObject>): Known {
  let names: ReadonlySet<string> = new Set();
  mirrored.follow(kind, (now) => {
    names = new Set(now.map(({ metadata }) => metadata.name));
  });
  return (name) => names.has(name);
}
