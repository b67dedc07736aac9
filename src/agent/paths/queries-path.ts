/** The way of a question: gateway → [queries' thread] read-only connections to this node's files → the answer. */
import { join } from "node:path";
import {
  collectionKind,
  streamKind,
  type KindDefinition,
  type KubeObject,
} from "../../api/index.ts";
import { createQueries, createQueryRoutes } from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";

export async function startQueriesPath(
  { clock, lifecycle, dataDir }: Ground,
  { mirrored }: { mirrored: Mirrored },
): Promise<{ readonly routes: Routes }> {
  const queries = await lifecycle.start(
    "queries",
    () =>
      createQueries(
        { clock },
        {
          documentsPath: join(dataDir, "documents.db"),
          streamsPath: join(dataDir, "streams.db"),
        },
      ),
    (part) => part.stop(),
  );
  const [isCollection, isStream] = [collectionKind, streamKind].map((kind) =>
    namesOf(mirrored, kind),
  ) as [Known, Known];
  return { routes: createQueryRoutes({ queries, declared: { isCollection, isStream } }) };
}

type Known = (name: string) => boolean;

function namesOf(mirrored: Mirrored, kind: KindDefinition<KubeObject>): Known {
  let names: ReadonlySet<string> = new Set();
  mirrored.follow(kind, (now) => {
    names = new Set(now.map(({ metadata }) => metadata.name));
  });
  return (name) => names.has(name);
}
