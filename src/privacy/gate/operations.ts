/**
 * The way out for documents (rule P): of an operation, the changes of fields that the collection's
 * policy names. A value leaves whole or not at all; where only something below a field may leave, a
 * plain value there stays, and what leaves of it is that the fields below were cleared. What merges
 * operations makes of these the document less what stays, and of nothing else.
 */
import {
  coverRuns,
  knownChanges,
  type Change,
  type EgressPolicy,
  type ObservedCounts,
  type Operation,
  type SnapshotPiece,
  type Write,
} from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { namesOf } from "../../lib/json-pointer.ts";
import type { Log } from "../../lib/log.ts";
import { stable } from "../../lib/stable.ts";
import type { Cleared } from "./gate.ts";
import {
  createStateRecheck,
  projectSnapshot,
  type GatedSnapshot,
  type StateRecheck,
} from "./states.ts";
import { compilePolicy, reachOf, type CollectionEgress, type CompiledPolicy } from "./policy.ts";

/** A piece of one origin's log: the operations of all positions from `from` to `to`, in order. */
export type OperationLog = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly operations: readonly Operation[];
  /** All that the sender has, by origin. */
  readonly vector: Readonly<Record<string, number>>;
};

/** Operations without anything for these collections are one that `covers` their positions. */
export type GatedOperations = OperationLog & {
  readonly collections: Readonly<Record<string, CollectionEgress>>;
};

export type ClearedOperations = Pick<OperationLog, "origin" | "from" | "to"> & {
  readonly entries: number;
  readonly bytes: Cleared<Uint8Array>;
};

export interface OperationGate {
  /** By collection. A policy that cannot be read is logged, and lets nothing out. */
  setPolicies(collections: Readonly<Record<string, CollectionEgress>>): void;
  /** For the hub's copies of these; undefined when none of them may leave. */
  clear(log: OperationLog, collections: readonly string[]): ClearedOperations | undefined;
  /** Of one collection; undefined when nothing of it may leave. */
  clearSnapshot(piece: SnapshotPiece, collection: string): Cleared<Uint8Array> | undefined;
}

type Known = CollectionEgress & { readonly compiled: CompiledPolicy };

export function createOperationGate(deps: {
  encode: (batch: GatedOperations) => Uint8Array;
  encodeSnapshot: (piece: GatedSnapshot) => Uint8Array;
  log: Log;
}): OperationGate {
  let knownByCollection = new Map<string, Known>();
  return {
    setPolicies(collections) {
      const next: typeof knownByCollection = new Map();
      for (const [collection, egress] of Object.entries(collections)) {
        try {
          next.set(collection, { ...egress, compiled: compilePolicy(egress.policy) });
        } catch (error) {
          deps.log.error("nothing leaves of this collection: its egress cannot be read", {
            collection,
            error,
          });
        }
      }
      knownByCollection = next;
    },
    clear({ operations, ...log }, wanted) {
      const leaving = new Map(
        wanted.flatMap((collection) => {
          const known = knownByCollection.get(collection);
          return known ? [[collection, known] as const] : [];
        }),
      );
      if (leaving.size === 0) return undefined;
      const policyOf = (collection: string) => leaving.get(collection)?.compiled;
      const cleared = coverRuns(operations.map((operation) => project(operation, policyOf)));
      const collections = Object.fromEntries(
        [...leaving].map(([name, { policy, revision }]) => [name, { policy, revision }]),
      );
      const bytes = deps.encode({ ...log, operations: cleared, collections });
      const entries = cleared.filter(({ covers }) => covers === undefined).length;
      const { origin, from, to } = log;
      return { origin, from, to, entries, bytes: bytes as Cleared<Uint8Array> };
    },
    clearSnapshot(piece, collection) {
      const known = knownByCollection.get(collection);
      if (!known) return undefined;
      const { policy, revision, compiled } = known;
      const leaving = projectSnapshot(piece, { collection, policy: compiled });
      const egress = { policy, revision };
      return deps.encodeSnapshot({ ...leaving, collection, egress }) as Cleared<Uint8Array>;
    },
  };
}

export interface OperationRecheck extends StateRecheck {
  /** The gate's second look, at the hub. Throws `egress-violated` or `invalid-egress`. */
  check(batch: GatedOperations): void;
  /** What the policy lets out of an operation that left by an earlier one. */
  narrow(operation: Operation, policy: EgressPolicy): Operation;
}

export function createOperationRecheck(): OperationRecheck {
  return {
    ...createStateRecheck(),
    check({ operations, collections }) {
      const compiled = new Map(
        Object.entries(collections).map(([name, { policy }]) => [name, compilePolicy(policy)]),
      );
      for (const operation of operations) {
        const allowed = project(operation, (collection) => compiled.get(collection));
        if (stable(allowed) === stable(operation)) continue;
        const [name = ""] = operation.writes.map(({ collection }) => collection);
        throw new SkerryError({
          code: "egress-violated",
          message: `collection ${name}: an operation holds what its egress policy does not let out`,
          hint: "the cell sends what its Collection does not let out: look at its version and its Collection objects; nothing of the batch was stored",
        });
      }
    },
    narrow(operation, policy) {
      const compiled = compilePolicy(policy);
      return project(operation, () => compiled);
    },
  };
}

/** Written anew, so that nothing passes unread; without writes it covers its position. */
function project(
  { hlc, seen, writes, covers }: Operation,
  policyOf: (collection: string) => CompiledPolicy | undefined,
): Operation {
  const leaving = writes.flatMap((write): Write[] => {
    const policy = policyOf(write.collection);
    if (!policy) return [];
    const { collection, id, verb, schema, changes } = write;
    return [
      {
        collection,
        id,
        verb,
        ...(schema === undefined ? {} : { schema }),
        changes: changes.flatMap((change) => projectChange(policy, change)),
      },
    ];
  });
  return leaving.length > 0
    ? { hlc, seen, writes: leaving }
    : { hlc: 0, seen, writes: [], covers: covers ?? 1 };
}

function projectChange(policy: CompiledPolicy, change: Change): Change[] {
  // A kind that is not known cannot be looked into.
  if (!knownChanges.has(change.type)) return [];
  const { path } = change;
  const reach = reachOf(policy, namesOf(path));
  if (reach === "nothing") return [];
  if (change.type === "remove" || (change.type === "set" && reach === "part"))
    return [{ type: "remove", path, ...countsOf(policy, change.counts) }];
  if (reach === "part") return [];
  switch (change.type) {
    case "set":
      return [{ type: "set", path, value: change.value, ...countsOf(policy, change.counts) }];
    case "count":
      return [{ type: "count", path, by: change.by }];
    case "add":
    case "discard":
      return [{ type: change.type, path, value: change.value }];
    case "insert": {
      const { after, n, values } = change;
      return [{ type: "insert", path, after, n, values }];
    }
    case "delete":
      return [{ type: "delete", path, ids: change.ids }];
    case "text":
      return [{ type: "text", path, update: change.update }];
  }
}

function countsOf(
  policy: CompiledPolicy,
  counts: ObservedCounts | undefined,
): { counts?: ObservedCounts } {
  const leaving = Object.entries(counts ?? {}).filter(
    ([path]) => reachOf(policy, namesOf(path)) === "whole",
  );
  return leaving.length > 0 ? { counts: Object.fromEntries(leaving) } : {};
}
