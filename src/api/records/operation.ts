/**
 * What a store of documents writes into its log: one operation a write, over one or many documents.
 * `data` merges by it, `privacy` takes out of it what may not leave the cell.
 */
import type { Json } from "../../lib/json.ts";

/** Per path and origin: what a clearing saw counted, as `[times, total]`. */
export type ObservedCounts = Readonly<
  Record<string, Readonly<Record<string, readonly [number, number]>>>
>;

/** `NUMBER@ORIGIN` */
export type ElementId = string;

export type Change =
  /** A register: takes the place of everything it knew of at and below the path. */
  | {
      readonly type: "set";
      readonly path: string;
      readonly value: Json;
      readonly counts?: ObservedCounts;
    }
  | { readonly type: "remove"; readonly path: string; readonly counts?: ObservedCounts }
  | { readonly type: "count"; readonly path: string; readonly by: number }
  /** An add-wins set. */
  | { readonly type: "add" | "discard"; readonly path: string; readonly value: Json }
  /** An ordered list; elements get the numbers `n`, `n + 1`, … */
  | {
      readonly type: "insert";
      readonly path: string;
      readonly after: ElementId | null;
      readonly n: number;
      readonly values: readonly Json[];
    }
  | { readonly type: "delete"; readonly path: string; readonly ids: readonly ElementId[] }
  /** A text, by Yjs: an update of its first format, in base64. */
  | { readonly type: "text"; readonly path: string; readonly update: string };

export type Write = {
  readonly collection: string;
  readonly id: string;
  /** `delete` has no changes. */
  readonly verb: "edit" | "delete";
  /** Of the schema that the writer knew. */
  readonly schema?: number;
  readonly changes: readonly Change[];
};

export type Operation = {
  readonly hlc: number;
  /** What the writer had applied of other logs that the operation before it had not. */
  readonly seen: Readonly<Record<string, number>>;
  readonly writes: readonly Write[];
  /** Named by the client: to versions that know no `once`, the same key again is the same write. */
  readonly key?: string;
  /** Of the caller, the collections and the key, then a dot and a digest of what was asked for. */
  readonly once?: string;
  /** Of one without writes: positions of the log that it stands for. Only at the hub. */
  readonly covers?: number;
};

/** Kinds of change that this version knows; it stores and passes on others, and applies them later. */
export const knownChanges: ReadonlySet<string> = new Set<Change["type"]>([
  "set",
  "remove",
  "count",
  "add",
  "discard",
  "insert",
  "delete",
  "text",
]);

/** Operations that only cover positions, joined where they stand together, with all that they had seen. */
export function coverRuns(operations: readonly Operation[]): Operation[] {
  const runs: Operation[] = [];
  for (const operation of operations) {
    const last = runs.at(-1);
    if (operation.covers === undefined || last?.covers === undefined) {
      runs.push(operation);
      continue;
    }
    const seen: Record<string, number> = { ...last.seen };
    for (const [origin, upto] of Object.entries(operation.seen))
      seen[origin] = Math.max(seen[origin] ?? 0, upto);
    runs[runs.length - 1] = { ...last, seen, covers: last.covers + operation.covers };
  }
  return runs;
}
