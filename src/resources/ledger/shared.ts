/**
 * Objects as lists and watches see them: decoded once for all readers, for as long as somebody holds
 * them (on a server the mirror does), and frozen, so that nobody changes what others read. Two
 * hundred watchers of one change, or a list of what was listed before, cost no parsing.
 */
import type { KubeObject } from "../../api/index.ts";
import type { KeyValue } from "../../ledger/index.ts";
import { deepFreeze } from "../../lib/freeze.ts";
import { decodeObject } from "./storage.ts";

/** The object at this key and revision. */
export type SharedDecode = <T extends KubeObject>(keyValue: KeyValue) => T;

/** Keys remembered; a few hundred bytes each beside what is only held weakly. */
const keysMax = 16_384;

export function createSharedDecode(): SharedDecode {
  const seenByKey = new Map<string, { revision: number; object: WeakRef<KubeObject> }>();
  return <T extends KubeObject>(keyValue: KeyValue): T => {
    const { key, modRevision } = keyValue;
    const seen = seenByKey.get(key);
    const known = seen?.revision === modRevision ? seen.object.deref() : undefined;
    if (known) return known as T;
    const object = deepFreeze(decodeObject<T>(keyValue));
    // What was read last goes last: the first is the one to forget.
    seenByKey.delete(key);
    seenByKey.set(key, { revision: modRevision, object: new WeakRef<KubeObject>(object) });
    if (seenByKey.size > keysMax)
      for (const oldest of seenByKey.keys()) {
        seenByKey.delete(oldest);
        break;
      }
    return object;
  };
}
