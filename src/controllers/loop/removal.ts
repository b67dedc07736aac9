/** Deletes one life of a name and nothing else. */
import type { KindDefinition, KubeObject } from "../../api/index.ts";
import type { DeleteOptions, Resources } from "../../resources/index.ts";
import { fieldManager } from "../context.ts";
import { keyOf, objectKey, uidOf } from "../objects.ts";
import { written } from "./outcome.ts";

/**
 * The object as it goes (with its grace, or for the last time); undefined when this life of the name
 * was over already. A conflict is looked into: it may be another life, or just contention. Throws like
 * `written`.
 */
export async function deleteThis<T extends KubeObject>(
  resources: Resources,
  kind: KindDefinition<T>,
  object: T,
  options: Pick<DeleteOptions, "signal" | "gracePeriodSeconds" | "propagationPolicy" | "onlyWhile">,
): Promise<T | undefined> {
  const key = objectKey(keyOf(object));
  const uid = uidOf(object);
  const what = `${kind.plural} ${keyOf(object)}`;
  const result = await resources.delete(kind, key, {
    ...options,
    fieldManager,
    preconditions: { uid },
  });
  if (result.state === "refused" && result.reason === "conflict") {
    const found = await resources.get(kind, key, { signal: options.signal });
    if (!found || found.metadata.uid !== uid) return undefined;
  }
  return written(result, what, ["not-found", "gone"]);
}
