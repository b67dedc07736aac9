/** The way of a question: gateway → [queries' thread] read-only connections to this node's files → the answer. */
import { join } from "node:path";
import { collectionKind, type Collection } from "../../api/index.ts";
import { createDocumentQueryRoutes, createQueries } from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";

export async function startQueriesPath(
  { clock, lifecycle, dataDir }: Ground,
  { mirrored }: { mirrored: Mirrored },
): Promise<{ readonly routes: Routes }> {
  const queries = await lifecycle.start(
    "queries",
    () => createQueries({ clock }, { documentsPath: join(dataDir, "documents.db") }),
    (part) => part.stop(),
  );
  let declared: ReadonlySet<string> = new Set();
  mirrored.follow(collectionKind, (now: readonly Collection[]) => {
    declared = new Set(now.map(({ metadata }) => metadata.name));
  });
  return {
    routes: createDocumentQueryRoutes({ queries, isDeclared: (name) => declared.has(name) }),
  };
}
