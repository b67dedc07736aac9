/**
 * One definition per kind. Validation, defaulting, strategic merge, apply, OpenAPI, discovery and
 * table columns are all driven from it: a new kind is one file in `kinds/` and one line in
 * `agent/bindings.ts`. Pure and browser-safe.
 */
import type { z } from "zod";
import type { KubeObject } from "./records/object.ts";

export type Column<T> = {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  /** Shown only with `-o wide`. */
  readonly wide?: boolean;
  readonly description: string;
  /** `date` columns answer an RFC 3339 time; ages are strings already (`5m`), counted to `nowMs`. */
  cell(object: T, nowMs: number): string | number;
};

export type FieldIssue = { readonly field: string; readonly message: string };

export type KindDefinition<T extends KubeObject = KubeObject> = {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /**
   * Unknown fields are refused by name (`checkObject`, `unknownFields`); list merge keys stand in the
   * schema's metadata under Kubernetes' own `x-kubernetes-*` names (`structureOf` reads them).
   */
  readonly schema: z.ZodType<T>;
  readonly subresources: readonly ("status" | "scale" | "log" | "eviction")[];
  /** All columns, name and age included, in the order in which they are shown. */
  readonly columns: readonly Column<T>[];
  /** Values by field selector path, beyond metadata.name and metadata.namespace. */
  fieldValues(object: T): Readonly<Record<string, string>>;
  /** Fills what the author left out; called before validation of a create and of an update. */
  applyDefaults(object: T): void;
  /** Whether a creator may set the status (only nodes); otherwise it starts empty. */
  readonly statusAtCreate?: "kept";
  /** Seconds that a deletion leaves to the object; 0 or absent: it goes at once. */
  graceSeconds?(object: T): number;
  /** Finalizers that a deletion begins with: somebody has to clear up before the object goes. */
  readonly finalizersAtDelete?: readonly string[];
  /** Names that may not be deleted. */
  readonly undeletable?: readonly string[];
  /** Objects are deleted by themselves this long after their last write (a little later is allowed). */
  readonly ttlMs?: number;
  /** Rules across fields, and against the previous version where fields may not change. */
  validate(object: T, previous?: T): readonly FieldIssue[];
};

/** `apps/v1` or `v1`. */
export function apiVersionOf(kind: Pick<KindDefinition, "group" | "version">): string {
  return kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
}
