/**
 * Holds a write to the object that authorization looked at: an object of the same name that was made
 * since then is somebody else's. A write that names a uid itself keeps it, and conflicts by itself.
 */
import type { KubeObject } from "../../api/index.ts";
import type { Patch } from "../../resources/index.ts";
import { isRecord } from "./incoming.ts";

export function pinnedObject(object: KubeObject, stored: KubeObject | undefined): KubeObject {
  const uid = object.metadata.uid ?? stored?.metadata.uid;
  return uid === undefined ? object : { ...object, metadata: { ...object.metadata, uid } };
}

export function pinnedPatch(patch: Patch, stored: KubeObject | undefined): Patch {
  const uid = stored?.metadata.uid;
  if (uid === undefined) return patch;
  switch (patch.type) {
    case "json":
      return { ...patch, body: [{ op: "test", path: "/metadata/uid", value: uid }, ...patch.body] };
    case "merge":
    case "strategic": {
      if (!isRecord(patch.body)) return patch;
      const metadata = isRecord(patch.body["metadata"]) ? patch.body["metadata"] : {};
      return { ...patch, body: { ...patch.body, metadata: { uid, ...metadata } } };
    }
    case "apply":
      // Whoever needs the pin (a node) may not apply.
      return patch;
  }
}
