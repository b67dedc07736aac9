/** Kubernetes Events: one object per thing that keeps happening, with a count. Pure. */
import type { Event, KubeObject } from "../../api/index.ts";
import { defaultNamespace } from "../../api/index.ts";
import { createdMs, timeText } from "../objects.ts";

export type Happening = {
  readonly about: KubeObject;
  readonly type: "Normal" | "Warning";
  /** One word: `ScaledUp`. */
  readonly reason: string;
  readonly message: string;
};

/** 32-bit FNV-1a in hexadecimal: names that are the same wherever they are made. */
export function hashText(text: string): string {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}

const nameLengthMax = 253;

/** The object for a first sighting; its name is the same for every repetition. */
export function eventFor(happening: Happening, component: string, nowMs: number): Event {
  const { about, type, reason, message } = happening;
  const { name, namespace, uid, resourceVersion } = about.metadata;
  const hash = hashText([about.kind, uid, type, reason, message, component].join("\n"));
  const now = timeText(nowMs);
  const place = namespace ?? defaultNamespace;
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: `${name.slice(0, nameLengthMax - 9)}.${hash}`, namespace: place },
    involvedObject: {
      apiVersion: about.apiVersion,
      kind: about.kind,
      name,
      ...(namespace ? { namespace } : {}),
      ...(uid ? { uid } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
    },
    type,
    reason,
    message,
    count: 1,
    firstTimestamp: now,
    lastTimestamp: now,
    source: { component },
    reportingComponent: component,
    reportingInstance: component,
  };
}

export function seenAgain(event: Event, times: number, nowMs: number): Event {
  return { ...event, count: (event.count ?? 1) + times, lastTimestamp: timeText(nowMs) };
}

/** The oldest beyond `itemsMax`; age needs no sweeping, the kind has a time to live. */
export function surplusEvents(events: readonly Event[], itemsMax: number): Event[] {
  const last = (event: Event) => Date.parse(event.lastTimestamp ?? "") || createdMs(event);
  return [...events].sort((a, b) => last(b) - last(a)).slice(itemsMax);
}
