/**
 * A piece of a log as it leaves the cell: what the gate let out of it, for the hub's copies of some
 * collections, with the policies it was cleared by. "SKP1", then as between nodes (`codec.ts`).
 */
import { stable } from "../../lib/stable.ts";
import { invalidBatch, packLines, unpackLines } from "./codec.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import { knownChanges, readOperation } from "./operation.ts";
import { decodeSnapshot, encodeSnapshot, type SnapshotPiece } from "./snapshot.ts";
import type { CollectionEgress, OperationLog } from "./store.ts";

export type LeavingBatch = OperationLog & {
  readonly collections: Readonly<Record<string, CollectionEgress>>;
};

/** What a copy at the hub was made by; another shape, another copy. */
export type Shape = {
  readonly shape: string;
  /** How many kinds of change the sender's gate knew, and could look into. */
  readonly kinds: number;
};

export const shapeOf = (
  { policy }: Pick<CollectionEgress, "policy">,
  changes: readonly string[] = [...knownChanges],
): Shape => ({ shape: stable({ policy, changes: changes.toSorted() }), kinds: changes.length });

const kind = "SKP1";

export function encodeLeaving({ operations, ...log }: LeavingBatch): Uint8Array {
  const texts = operations.map((operation) => JSON.stringify(operation));
  const changes = [...knownChanges];
  const header = { ...log, changes, count: texts.length } as JsonObject;
  return new Uint8Array(packLines(kind, header, texts));
}

/** With the shape of each collection. Throws `invalid-batch`. */
export function decodeLeaving(
  bytes: Uint8Array,
): LeavingBatch & { readonly shapes: ReadonlyMap<string, Shape> } {
  const { origin, from, texts, header } = unpackLines(kind, bytes);
  const { to, vector, changes, collections } = header;
  const operations = texts.map(readOperation);
  const positions = operations.reduce((sum, { covers }) => sum + (covers ?? 1), 0);
  if (to !== from + positions - 1) throw invalidBatch("covers other positions than it says");
  if (!isObject(vector) || !Object.values(vector).every(Number.isSafeInteger))
    throw invalidBatch("vector must be positions by origin");
  if (!isNames(changes)) throw invalidBatch("changes must be names");
  if (!isObject(collections) || !Object.values(collections).every(isEgress))
    throw invalidBatch("collections must have a policy and a revision");
  const named = collections as unknown as LeavingBatch["collections"];
  const shapes = new Map(
    Object.entries(named).map(([name, egress]) => [name, shapeOf(egress, changes)]),
  );
  return {
    origin,
    from,
    to,
    operations,
    vector: vector as OperationLog["vector"],
    collections: named,
    shapes,
  };
}

/** A piece of one collection's documents as it leaves, with the policy that it was cleared by. */
export type LeavingSnapshot = SnapshotPiece & {
  readonly collection: string;
  readonly egress: CollectionEgress;
};

/** "SKT1", then as between nodes (`snapshot.ts`). */
const snapshotLeaving = "SKT1";

export function encodeLeavingSnapshot(leaving: LeavingSnapshot): Uint8Array {
  const { collection, egress, ...piece } = leaving;
  const changes = [...knownChanges];
  const more = { kind: snapshotLeaving, collection, egress, changes } as unknown as JsonObject;
  return encodeSnapshot(piece, more);
}

/** Throws `invalid-batch`. */
export function decodeLeavingSnapshot(
  bytes: Uint8Array,
): LeavingSnapshot & { readonly shape: Shape } {
  const { header, ...piece } = decodeSnapshot(bytes, snapshotLeaving);
  const { collection, egress, changes } = header;
  if (typeof collection !== "string") throw invalidBatch("collection must be a name");
  if (!isNames(changes)) throw invalidBatch("changes must be names");
  if (egress === undefined || !isEgress(egress))
    throw invalidBatch("egress must have a policy and a revision");
  const named = egress as unknown as CollectionEgress;
  return { ...piece, collection, egress: named, shape: shapeOf(named, changes) };
}

const isNames = (value: Json | undefined): value is readonly string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string");

function isEgress(value: Json): boolean {
  if (!isObject(value) || !Number.isSafeInteger(value["revision"])) return false;
  const { policy } = value;
  if (!isObject(policy)) return false;
  const { keep, drop, ...rest } = policy;
  if (Object.keys(rest).length > 0) return false;
  return [keep, drop].every((paths) => paths === undefined || isNames(paths));
}
