/**
 * The shape of a kind's fields as plain data, read once from its schema: what strategic merge, apply
 * and the search for unknown fields walk over. `any` is a value that nobody looks into.
 */
import type { z } from "zod";

export type Structure =
  | {
      readonly type: "object";
      readonly fields: ReadonlyMap<string, Structure>;
      /** A patch may name the fields that stay ($retainKeys). */
      readonly retainKeys: boolean;
    }
  | { readonly type: "map"; readonly value: Structure }
  | {
      readonly type: "list";
      readonly item: Structure;
      /** How apply sees it. */
      readonly apply: "atomic" | "set" | "map";
      /** Fields that tell items apart in apply; empty unless `map`. */
      readonly keys: readonly string[];
      /** How a strategic merge treats it; `patchKey` is set when items are objects. */
      readonly patch: "merge" | "replace";
      readonly patchKey: string | undefined;
      readonly retainKeys: boolean;
    }
  /** `default` is what an absent key of a list item stands for. */
  | { readonly type: "scalar"; readonly default?: unknown }
  | { readonly type: "any" };

const structures = new WeakMap<z.ZodType, Structure>();

/** The structure of a schema; computed once for each schema. */
export function structureOf(schema: z.ZodType): Structure {
  const known = structures.get(schema);
  if (known) return known;
  const structure = read(schema);
  structures.set(schema, structure);
  return structure;
}

/** The parts of zod's definitions that are read here (zod 4, `schema._zod.def`). */
type Definition = {
  type: string;
  shape?: Record<string, z.ZodType>;
  element?: z.ZodType;
  innerType?: z.ZodType;
  valueType?: z.ZodType;
};

const scalars = new Set(["string", "number", "int", "boolean", "literal", "enum", "union"]);

function read(schema: z.ZodType): Structure {
  const definition = schema.def as unknown as Definition;
  const meta = metaOf(schema);
  const patchStrategy = String(meta["x-kubernetes-patch-strategy"] ?? "");
  const retainKeys = patchStrategy.includes("retainKeys");
  if (definition.type === "object" && definition.shape) {
    const fields = Object.entries(definition.shape).map(
      ([name, field]) => [name, structureOf(field)] as const,
    );
    return { type: "object", fields: new Map(fields), retainKeys };
  }
  if (definition.type === "array" && definition.element) {
    const listType = meta["x-kubernetes-list-type"];
    const keys = meta["x-kubernetes-list-map-keys"];
    const patchKey = meta["x-kubernetes-patch-merge-key"];
    return {
      type: "list",
      item: structureOf(definition.element),
      apply: listType === "map" || listType === "set" ? listType : "atomic",
      keys: Array.isArray(keys) ? keys.map(String) : [],
      patch: patchStrategy.includes("merge") ? "merge" : "replace",
      patchKey: typeof patchKey === "string" ? patchKey : undefined,
      retainKeys,
    };
  }
  if (definition.type === "record" && definition.valueType)
    return { type: "map", value: structureOf(definition.valueType) };
  if (definition.innerType) return structureOf(definition.innerType);
  if (scalars.has(definition.type))
    return "default" in meta ? { type: "scalar", default: meta["default"] } : { type: "scalar" };
  return { type: "any" };
}

function metaOf(schema: z.ZodType): Record<string, unknown> {
  return (schema.meta() ?? {}) as Record<string, unknown>;
}
