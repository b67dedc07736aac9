/** What all watches share: how one without a version begins, and where a broken one goes on. */
import type { KindDefinition, KubeObject } from "../api/index.ts";
import type { ListOptions, Resources, WatchEvent } from "./resources.ts";

/** What is there, a bookmark, then changes. */
export async function* listThenWatch<T extends KubeObject>(
  resources: Pick<Resources, "list">,
  kind: KindDefinition<T>,
  options: ListOptions,
  watchFrom: (resourceVersion: string) => AsyncIterable<WatchEvent<T>>,
): AsyncIterable<WatchEvent<T>> {
  const { limit: _, continueToken: __, ...query } = options;
  const list = await resources.list(kind, query);
  for (const object of list.items) yield { type: "ADDED", object };
  yield { type: "BOOKMARK", resourceVersion: list.resourceVersion };
  yield* watchFrom(list.resourceVersion);
}

/** Absent, empty and "0" mean "whatever is current". */
export function isFromStart(resourceVersion: string | undefined): boolean {
  return resourceVersion === undefined || resourceVersion === "" || resourceVersion === "0";
}

/**
 * Where to resume: before the last revision seen, because it may hold more objects than were told,
 * with what of it was told already left out.
 */
export function createPlace(start: string) {
  let complete = start;
  let current = start;
  let told = new Set<string>();
  const move = (revision: string) => {
    if (revision === current) return;
    complete = current;
    current = revision;
    told = new Set();
  };
  return {
    resumeAt: () => complete,
    isNew(event: WatchEvent<KubeObject>): boolean {
      if (event.type === "BOOKMARK") {
        if (Number(event.resourceVersion) >= Number(current)) {
          complete = event.resourceVersion;
          current = event.resourceVersion;
          told = new Set();
        }
        return true;
      }
      const { namespace, name, resourceVersion = "0" } = event.object.metadata;
      const key = `${namespace ?? ""}/${name}`;
      if (Number(resourceVersion) < Number(current)) return false;
      if (resourceVersion === current && told.has(key)) return false;
      move(resourceVersion);
      told.add(key);
      return true;
    },
  };
}
