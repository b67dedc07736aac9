/**
 * The way out for documents as they are: of a state, what fields hold that may leave whole. The same
 * is left as of the operations that made it (`operations.ts`): of others only clearings leave, and what
 * these cleared is not in a state.
 */
import type {
  EgressPolicy,
  PackedState,
  SnapshotDocument,
  SnapshotPiece,
} from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { namesOf } from "../../lib/json-pointer.ts";
import { stable } from "../../lib/stable.ts";
import { compilePolicy, reachOf, type CollectionEgress, type CompiledPolicy } from "./policy.ts";

/** A piece of one collection, by the policy that it was cleared by. */
export type GatedSnapshot = SnapshotPiece & {
  readonly collection: string;
  readonly egress: CollectionEgress;
};

export interface StateRecheck {
  /** The gate's second look, at the hub. Throws `egress-violated` or `invalid-egress`. */
  checkSnapshot(piece: GatedSnapshot): void;
  /** What the policy lets out of a state that left by an earlier one. */
  narrowState(state: PackedState, policy: EgressPolicy): PackedState;
  /** Whether all of a field, by JSON pointer, is let out. */
  lets(policy: EgressPolicy): (path: string) => boolean;
}

/** Client's keys, and documents of other collections, stay. */
export function projectSnapshot(
  { view, after, next, origins, documents, end }: SnapshotPiece,
  { collection, policy }: { collection: string; policy: CompiledPolicy },
): SnapshotPiece {
  return {
    view,
    ...(after ? { after } : {}),
    next,
    origins,
    documents: documents.flatMap((document): SnapshotDocument[] =>
      document.collection === collection
        ? [{ collection, id: document.id, state: projectState(document.state, policy) }]
        : [],
    ),
    keys: [],
    ...(end ? { end } : {}),
  };
}

export function createStateRecheck(): StateRecheck {
  return {
    checkSnapshot({ collection, egress, ...piece }) {
      const policy = compilePolicy(egress.policy);
      const { documents, keys } = projectSnapshot(piece, { collection, policy });
      if (stable({ documents, keys }) === stable({ documents: piece.documents, keys: piece.keys }))
        return;
      throw new SkerryError({
        code: "egress-violated",
        message: `collection ${collection}: a document holds what its egress policy does not let out`,
        hint: "the cell sends what its Collection does not let out: look at its version and its Collection objects; nothing of it was stored",
      });
    },
    narrowState: (state, policy) => projectState(state, compilePolicy(policy)),
    lets(policy) {
      const compiled = compilePolicy(policy);
      return (path) => isWhole(compiled, path);
    },
  };
}

const isWhole = (policy: CompiledPolicy, path: string): boolean =>
  reachOf(policy, namesOf(path)) === "whole";

/** Written anew, so that nothing passes unread. */
function projectState(
  { e, d, v, x, c, m, l, t }: PackedState,
  policy: CompiledPolicy,
): PackedState {
  const leaving = <T extends readonly (readonly [string, unknown])[]>(
    name: string,
    fields: T | undefined,
  ) => {
    const kept = fields?.filter(([path]) => isWhole(policy, path)) ?? [];
    return kept.length > 0 ? { [name]: kept } : {};
  };
  return {
    ...(e ? { e } : {}),
    ...(d ? { d } : {}),
    ...(v === undefined ? {} : { v }),
    ...leaving("x", x),
    ...leaving("c", c),
    ...leaving("m", m),
    ...leaving("l", l),
    ...leaving("t", t),
  };
}
