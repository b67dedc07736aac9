/**
 * The way of documents of strong collections: gateway → decided here → the ledger of this node, or over
 * a link to any server's. The application's token goes all the way and is verified at both ends.
 */
import { collectionKind, isStrong, type Collection } from "../../api/index.ts";
import {
  createStrongDocumentRoutes,
  createStrongDocuments,
  strongProblemOf,
  type StrongDocumentRoutes,
} from "../../data/index.ts";
import {
  collectionMethods,
  collectionShare,
  collectionSpace,
} from "../../ledger/applications/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import { strongLedgerOf } from "../strong-ledger.ts";
import { startSpace, type CoordinationDeps } from "./coordination-path.ts";
import { declarationOf } from "./documents-path.ts";

export async function startStrongPath(
  ground: Ground,
  deps: CoordinationDeps & { mirrored: Mirrored },
): Promise<StrongDocumentRoutes> {
  const { clock, random } = ground;
  const coordination = await startSpace(ground, deps, {
    name: "strong collections",
    space: collectionSpace({ isStrong: (name) => strong.has(name), problemOf: strongProblemOf }),
    methods: collectionMethods,
    share: collectionShare,
  });
  const strong = createStrongDocuments({ ledger: strongLedgerOf(coordination), clock, random });
  deps.mirrored.follow(collectionKind, (now: readonly Collection[]) =>
    strong.declare(now.filter(isStrong).map(declarationOf)),
  );
  return createStrongDocumentRoutes({ strong, clock });
}
