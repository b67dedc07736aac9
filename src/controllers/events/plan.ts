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
  /** For programs that read the event. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Too many of its kind: one object stands for them all, with the newest message. */
  readonly combined?: boolean;
};

export const combinedPrefix = "(combined from similar events): ";

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
  const { about, type, reason, annotations, combined = false } = happening;
  const message = combined ? `${combinedPrefix}${happening.message}` : happening.message;
  const { name, namespace, uid, resourceVersion } = about.metadata;
  const told = combined ? combinedPrefix : message;
  const hash = hashText([about.kind, uid, type, reason, told, component].join("\n"));
  const now = timeText(nowMs);
  const place = namespace ?? defaultNamespace;
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: {
      name: `${name.slice(0, nameLengthMax - 9)}.${hash}`,
      namespace: place,
      ...(annotations ? { annotations: { ...annotations } } : {}),
    },
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

export function seenAgain(event: Event, times: number, nowMs: number, message?: string): Event {
  const count = (event.count ?? 1) + times;
  const told = message === undefined ? {} : { message };
  return { ...event, ...told, count, lastTimestamp: timeText(nowMs) };
}

/**
 * From the `similarMax`-th different message about one object for one reason within the window on,
 * they are one event (as Kubernetes' `EventAggregator` does): a flood of them says less, not more.
 */
export function createSimilar(options: {
  similarMax: number;
  windowMs: number;
  subjectsMax: number;
}) {
  const bySubject = new Map<string, { sinceMs: number; messages: Set<string> }>();
  return {
    isTooMany({ about, reason, message }: Happening, nowMs: number): boolean {
      const subject = [about.kind, about.metadata.uid, about.metadata.name, reason].join("\n");
      let known = bySubject.get(subject);
      if (!known || nowMs - known.sinceMs > options.windowMs) {
        known = { sinceMs: nowMs, messages: new Set() };
        bySubject.delete(subject);
        bySubject.set(subject, known);
        for (const oldest of bySubject.keys()) {
          if (bySubject.size <= options.subjectsMax) break;
          bySubject.delete(oldest);
        }
      }
      if (known.messages.has(message)) return false;
      if (known.messages.size >= options.similarMax) return true;
      known.messages.add(message);
      return false;
    },
  };
}

/** The oldest beyond `itemsMax`; age needs no sweeping, the kind has a time to live. */
export function surplusEvents(events: readonly Event[], itemsMax: number): Event[] {
  const last = (event: Event) => Date.parse(event.lastTimestamp ?? "") || createdMs(event);
  return [...events].sort((a, b) => last(b) - last(a)).slice(itemsMax);
}
