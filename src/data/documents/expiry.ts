/**
 * Retention: deletes what nobody changed for as long as its collection keeps documents, by ordinary
 * deletions (M5: an edit that did not know of one brings the document back). What a deleted document
 * held stays for that; when a deletion is so old that nobody is waited for (M15), it is cleared by an
 * operation as well. One node does it, the others so much later that they have heard of it by then.
 */
import type { Ages } from "./ages.ts";
import type { CollectionDeclaration, DocumentWrite, Expired, ExpireQuery } from "./store.ts";
import { isCounted, livingOf, type DocumentState } from "./state.ts";
import { lengthOf } from "./text.ts";

/** A document by its last change here; `isThere` false: it is deleted. */
export type Unchanged = { readonly id: string; readonly change: number; readonly isThere: boolean };

/** Of a collection what changed last above `since` and below `below`. */
export type UnchangedQuery = {
  readonly collection: string;
  readonly since: number;
  readonly below: number;
  readonly limit: number;
};

export interface Expiry {
  /** A piece of it, inside a transaction. */
  step(collections: Iterable<CollectionDeclaration>, query: ExpireQuery): Expired;
  /** After changes were undone. */
  forget(): void;
}

/** Documents in one transaction. */
const rowsPerStep = 200;
const hourMs = 3_600_000;
/** Who was away for so long may not have heard of a deletion; as long as M15 waits for a node. */
const awayMsDefault = 7 * 24 * hourMs;
/** So much later than the node before it, at least, that a node has heard of what that one deleted. */
const lagMsMin = 3000;
/** Part of `maxAge` that a deletion may be late. */
const exactness = 1 / 100;

export function createExpiry(
  deps: {
    ages: Ages;
    /** In the order of their changes. */
    unchanged(query: UnchangedQuery): Unchanged[];
    /** As it is saved. */
    state(collection: string, id: string): DocumentState | undefined;
    /** One operation. `isOwn`: neither fields nor rules refuse it. False: refused. */
    write(request: readonly DocumentWrite[], options?: { isOwn?: boolean }): boolean;
    monotonicMs(): number;
  },
  options: { awayMs?: number } = {},
): Expiry {
  const { ages, unchanged, write } = deps;
  const awayMs = options.awayMs ?? awayMsDefault;
  /** How far each walk has come, in the order of changes. */
  const walks = new Map<string, { since: number; keptSinceMs: number | undefined }>();
  const walkOf = (name: string) => {
    const walk = walks.get(name) ?? { since: 0, keptSinceMs: undefined };
    walks.set(name, walk);
    return walk;
  };
  const remove = (collection: string, ids: readonly string[]): number => {
    const writes = ids.map((id): DocumentWrite => ({ collection, id, do: "delete" }));
    if (ids.length === 0 || write(writes)) return ids.length;
    return writes.filter((each) => write([each])).length;
  };
  const clear = (collection: string, id: string): boolean => {
    const state = deps.state(collection, id);
    if (!state || !holdsValues(state)) return false;
    return write(
      [
        { collection, id, do: "put", body: {} },
        { collection, id, do: "delete" },
      ],
      { isOwn: true },
    );
  };

  return {
    step(collections, { rank }) {
      const kept = [...collections].flatMap(({ name, retention, readOnly, fromHub }) =>
        retention && !readOnly ? [{ name, maxAgeMs: retention.maxAgeMs, isShared: fromHub }] : [],
      );
      const deleted: Record<string, number> = {};
      if (kept.length === 0) return { deleted, cleared: 0, kept: 0, more: false };
      ages.note(Math.min(...kept.map(({ maxAgeMs }) => maxAgeMs * exactness)));
      let left = rowsPerStep;
      let cleared = 0;
      let refused = 0;
      /** The next ones that are as old; the walk has seen them. */
      const next = (of: string, collection: string, ageMs: number): Unchanged[] => {
        const walk = walkOf(of);
        const below = ages.firstYounger(ageMs);
        if (left <= 0 || walk.since + 1 >= below) return [];
        const rows = unchanged({ collection, since: walk.since, below, limit: left });
        left -= rows.length;
        walk.since = left > 0 ? below - 1 : (rows.at(-1)?.change ?? walk.since);
        return rows;
      };
      for (const { name, maxAgeMs, isShared } of kept) {
        const lagMs = rank * Math.min(Math.max(maxAgeMs / 20, lagMsMin), hourMs);
        const walk = walkOf(name);
        if (walk.keptSinceMs !== undefined && deps.monotonicMs() - walk.keptSinceMs >= hourMs)
          Object.assign(walk, { since: 0, keptSinceMs: undefined });
        const old = next(name, name, maxAgeMs + lagMs).filter(({ isThere }) => isThere);
        const gone = remove(
          name,
          old.map(({ id }) => id),
        );
        if (gone > 0) deleted[name] = gone;
        refused += old.length - gone;
        // Once what names them is gone, they are looked at again.
        if (gone < old.length) walk.keptSinceMs ??= deps.monotonicMs();
        // At the hub others may still have it, and their cells: theirs to say.
        if (isShared) continue;
        for (const { id, isThere } of next(`${name}\ndeleted`, name, awayMs + lagMs))
          if (!isThere && clear(name, id)) cleared++;
      }
      ages.prune(Math.max(awayMs, ...kept.map(({ maxAgeMs }) => maxAgeMs)) + (rank + 1) * hourMs);
      return { deleted, cleared, kept: refused, more: left <= 0 };
    },
    forget() {
      walks.clear();
      ages.forget();
    },
  };
}

const holdsValues = ({ cells }: DocumentState): boolean =>
  cells
    .values()
    .some(
      (cell) =>
        cell.registers.length > 0 ||
        cell.members.size > 0 ||
        isCounted(cell) ||
        livingOf(cell).length > 0 ||
        lengthOf(cell.text) > 0,
    );
