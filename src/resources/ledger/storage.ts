/**
 * Objects as keys and values of the ledger: `/registry/GROUP/PLURAL[/NAMESPACE]/NAME`, JSON without
 * the resourceVersion, which is the revision of the key.
 */
import type { KindDefinition, KubeObject, ObjectKey } from "../../api/index.ts";
import type { KeyValue, Revision } from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";

const root = "/registry";
/** What the ledger takes as one value. */
export const objectBytesMax = 1024 * 1024;

export function prefixOf(kind: KindDefinition, namespace?: string): string {
  const base = `${root}/${kind.group || "core"}/${kind.plural}/`;
  return kind.namespaced && namespace !== undefined && namespace !== ""
    ? `${base}${namespace}/`
    : base;
}

/** Undefined when no object can have this key: names are checked when objects are created. */
export function keyOf(kind: KindDefinition, key: ObjectKey): string | undefined {
  const parts = kind.namespaced ? [key.namespace ?? "", key.name] : [key.name];
  return parts.every((part) => /^[!-.0-~]{1,253}$/.test(part))
    ? prefixOf(kind) + parts.join("/")
    : undefined;
}

export function encodeObject(object: KubeObject): Uint8Array {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return new TextEncoder().encode(JSON.stringify({ ...object, metadata }));
}

export function decodeObject<T extends KubeObject>(keyValue: KeyValue): T {
  return decodeAt(keyValue, keyValue.modRevision);
}

export function decodeAt<T extends KubeObject>(keyValue: KeyValue, revision: Revision): T {
  const object = JSON.parse(new TextDecoder().decode(keyValue.value)) as T;
  return withVersion(object, revision);
}

export function withVersion<T extends KubeObject>(object: T, revision: Revision): T {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

/** Throws `invalid-resource-version`. */
export function parseVersion(text: string | undefined): Revision {
  const revision = Number(text);
  if (!/^\d+$/.test(text ?? "") || !Number.isSafeInteger(revision)) {
    throw new SkerryError({
      code: "invalid-resource-version",
      message: `resourceVersion: "${text}" is not one`,
      hint: "use the metadata.resourceVersion of a list or an object",
    });
  }
  return revision as Revision;
}
