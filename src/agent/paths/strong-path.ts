/**
 * The way of documents of strong collections: gateway → decided here → the ledger of this node, or over
 * a link to any server's. The application's token goes all the way and is verified at both ends.
 */
import { collectionKind, isStrong, type Collection } from "../../api/index.ts";
import {
  createStrongDocumentRoutes,
  createStrongDocuments,
  createStrongQueries,
  strongProblemOf,
  strongReceiptProblemOf,
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
    space: collectionSpace({
      isStrong: (name) => strong.has(name),
      problemOf: strongProblemOf,
      receiptProblemOf: strongReceiptProblemOf,
    }),
    methods: collectionMethods,
    share: collectionShare,
  });
  const ofStrong = strongLedgerOf(coordination);
  const strong = createStrongDocuments({ ledger: ofStrong, clock, random });
  const queries = createStrongQueries({ ledger: ofStrong, clock });
  deps.mirrored.follow(collectionKind, (now: readonly Collection[]) =>
    strong.declare(now.filter(isStrong).map(declarationOf)),
  );
  return createStrongDocumentRoutes({ strong, queries, clock });
}
