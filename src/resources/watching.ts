/** How a watch without a version begins, whoever answers it: what is there, a bookmark, changes. */
import type { KindDefinition, KubeObject } from "../api/index.ts";
import type { ListOptions, Resources, WatchEvent } from "./resources.ts";

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
