/**
 * The words in which kinds describe their fields. Lists carry Kubernetes' own extension names in the
 * schema's metadata, so that strategic merge, apply and the published OpenAPI read the same facts:
 * `x-kubernetes-list-type` (apply) and `x-kubernetes-patch-merge-key` (strategic merge).
 */
import * as z from "zod";
import { isQuantity } from "../values/quantity.ts";

/** Items are told apart by `keys` in apply, by `patchKey` (default: the first key) in a strategic merge. */
export function listByKey<Item extends z.ZodType>(
  item: Item,
  keys: readonly [string, ...string[]],
  options: { patchKey?: string; retainKeys?: boolean } = {},
) {
  return z.array(item).meta({
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [...keys],
    "x-kubernetes-patch-merge-key": options.patchKey ?? keys[0],
    "x-kubernetes-patch-strategy": options.retainKeys ? "merge,retainKeys" : "merge",
  });
}

/** Scalars without order or repetition; a strategic merge adds to them. */
export function setOf<Item extends z.ZodType>(item: Item) {
  return z
    .array(item)
    .meta({ "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge" });
}

/** One value: whoever writes it writes all of it. */
export function listOf<Item extends z.ZodType>(item: Item) {
  return z.array(item).meta({ "x-kubernetes-list-type": "atomic" });
}

/** An object whose fields exclude each other: a patch may say which stay ($retainKeys). */
export function retainKeys<Schema extends z.ZodType>(schema: Schema): Schema {
  return schema.meta({ "x-kubernetes-patch-strategy": "retainKeys" });
}

export const textMap = z.record(z.string(), z.string());
export const integer = z.int();
export const count = z.int().min(0);
export const port = z.int().min(1).max(65_535);
/** Part of what tells ports apart, so apply must know what an absent one stands for. */
export const protocol = z.enum(["TCP", "UDP", "SCTP"]).meta({ default: "TCP" });
export const intOrString = z
  .union([z.int(), z.string()])
  .meta({ "x-kubernetes-int-or-string": true });
/** An RFC 3339 time. */
export const time = z
  .string()
  .refine((text) => !Number.isNaN(Date.parse(text)), { error: "must be an RFC 3339 time" });
export const quantity = z.union([z.string(), z.number()]).refine(isQuantity, {
  error: "must be a quantity such as 100m, 0.5, 64Mi or 1G",
});
export const quantities = z.record(z.string(), quantity);
/** Accepted as it is, never looked into. */
export const opaque = z.record(z.string(), z.unknown());
