/** Writes of documents, answered with the level that was seen to hold (D6). */
import type { DurabilityLevel } from "../../api/index.ts";
import type { DocumentStore, DocumentWrite, GivenKey, WriteAnswer } from "../documents/store.ts";
import { beforeDeadline } from "./durability.ts";
import { createReach, levelImpossible, type ReachDeps } from "./reach.ts";

type Stored = WriteAnswer & { readonly state: "stored" };
type Refused = WriteAnswer & { readonly state: "refused" };

export type DocumentOutcome =
  | ({ readonly reached: DurabilityLevel } & Pick<Stored, "changed" | "warnings" | "versions"> & {
        /** `short`: time ran out before the level asked for; what is at `reached` stays and spreads. */
        readonly state: "reached" | "short";
      })
  /** Time ran out before the commit: it may still happen. */
  | { readonly state: "unknown" }
  | Refused;

export interface DocumentWrites {
  /** All or nothing. Refuses a level that can never be reached: `level-impossible`. */
  write(
    writes: readonly DocumentWrite[],
    options: { level: DurabilityLevel; timeoutMs: number } & GivenKey,
  ): Promise<DocumentOutcome>;
  stop(): void;
}

export function createDocumentWrites(
  deps: Omit<ReachDeps, "node" | "hub"> & {
    readonly store: Pick<DocumentStore, "node" | "write">;
    /** `leaves`: whether anything of a collection may leave the cell. Absent: nothing goes to a hub. */
    readonly hub?: ReachDeps["hub"] & { leaves(collection: string): boolean };
  },
): DocumentWrites {
  const { store, clock } = deps;
  const reach = createReach({ ...deps, node: store.node });
  const impossible = (level: DurabilityLevel, writes: readonly DocumentWrite[]) => {
    if (level.level !== "hub") return reach.tooManyPeers(level);
    const { hub } = deps;
    if (!hub || deps.hasHub?.() === false)
      return levelImpossible("level: this cell has no hub", "ask for local or peer(k)");
    const staying = writes.find(({ collection }) => !hub.leaves(collection));
    return staying
      ? levelImpossible(
          `level: collection ${staying.collection} has no egress, so its documents never reach the hub`,
          "ask for local or peer(k), or give the Collection an egress section",
        )
      : undefined;
  };
  return {
    async write(writes, { level, timeoutMs, key, caller }) {
      const refused = impossible(level, writes);
      if (refused) return refused;
      const untilMs = clock.monotonicMs() + timeoutMs;
      const written = store.write(writes, { key, caller });
      const answer = await beforeDeadline(clock, written, timeoutMs);
      if (!answer) return { state: "unknown" };
      if (answer.state === "refused") return answer;
      const { changed, warnings, versions, cover } = answer;
      // Nothing is answered before its fsync: who asks for `memory` gets more.
      const asked: DurabilityLevel = level.level === "memory" ? { level: "local" } : level;
      const streams = [...new Set(writes.map(({ collection }) => collection))];
      const isReached = await reach.wait(asked, cover, { untilMs, streams });
      return {
        state: isReached ? "reached" : "short",
        reached: isReached ? asked : reach.now(cover),
        changed,
        warnings,
        versions,
      };
    },
    stop: () => reach.stop(),
  };
}
