/** Which objects a list or a watch is about. */
import {
  matchesFields,
  matchesRequirements,
  parseFieldSelector,
  parseLabelSelector,
  type KindDefinition,
  type KubeObject,
} from "../api/index.ts";
import type { ListOptions, WatchEvent } from "./resources.ts";

export type Selection<T> = {
  readonly all: boolean;
  /** The one name that can match, when the selector says so. */
  readonly name: string | undefined;
  matches(object: T): boolean;
};

/** Throws `invalid-selector`. */
export function selectionOf<T extends KubeObject>(
  kind: KindDefinition<T>,
  options: Pick<ListOptions, "labelSelector" | "fieldSelector" | "namespace">,
): Selection<T> {
  const labels = parseLabelSelector(options.labelSelector ?? "");
  const fields = parseFieldSelector(options.fieldSelector ?? "");
  const named = fields.find(
    ({ field, operator }) => field === "metadata.name" && operator === "equals",
  );
  return {
    all: labels.length === 0 && fields.length === 0,
    name: named?.value,
    matches: (object) =>
      matchesRequirements(labels, object.metadata.labels) && matchesFields(kind, fields, object),
  };
}

export type Change<T> = {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: T;
  /** What was there before a change. */
  readonly previous?: T;
};

/** An object that enters the selection is added, one that leaves it deleted, as in Kubernetes. */
export function selectEvent<T>(
  selection: Selection<T>,
  { type, object, previous }: Change<T>,
): WatchEvent<T> | undefined {
  if (selection.all) return { type, object };
  const is = selection.matches(object);
  if (type === "DELETED") return is ? { type, object } : undefined;
  const was = type === "MODIFIED" && previous !== undefined && selection.matches(previous);
  if (is) return { type: was ? "MODIFIED" : "ADDED", object };
  return was ? { type: "DELETED", object } : undefined;
}
