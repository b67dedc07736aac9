/**
 * A document that is new here and holds plain fields only, which most new documents do: what a merge
 * would make of it can be written down at once. The same row comes out as by way of its state.
 */
import type { ShownText } from "./body.ts";
import { packFresh, type OriginNumbers } from "./encode-state.ts";
import { isObject, objectOf, type JsonObject } from "./json.ts";
import { applyWrite, type Context } from "./merge.ts";
import type { Change, Write } from "./operation.ts";
import { isPlain, join } from "./pointer.ts";
import { emptyState, type DocumentState } from "./state.ts";

export type Fresh = {
  readonly write: Write;
  readonly context: Context;
  /** In the order of rows, which is not that of an object's fields: there numbers come first. */
  readonly paths: readonly string[];
  readonly shown: ShownText;
};

/** Undefined when the write has to take the way of every other. */
export function freshOf(write: Write, context: Context): Fresh | undefined {
  const fields = new Map<string, Change & { type: "set" }>();
  for (const change of write.changes) {
    if (change.type !== "set" || change.counts || !isPlain(change.path)) return undefined;
    fields.set(change.path, change);
  }
  if (fields.size === 0 || fields.size < write.changes.length) return undefined;
  const paths = [...fields.keys()].sort();
  const body = objectOf(paths.map((path) => [path.slice(1), fields.get(path)?.value ?? null]));
  return { write, context, paths, shown: { body, conflicts: [], text: JSON.stringify(body) } };
}

/** What a whole body sets where nothing is yet; undefined for one with fields within fields. */
export function changesOf(body: JsonObject): Change[] | undefined {
  const changes: Change[] = [];
  for (const [name, value] of Object.entries(body)) {
    const path = join("", name);
    if (!isPlain(path) || (isObject(value) && Object.keys(value).length > 0)) return undefined;
    changes.push({ type: "set", path, value });
  }
  return changes;
}

export function stateOf({ write, context }: Fresh): DocumentState {
  const state = emptyState();
  applyWrite(state, write, context);
  return state;
}

export const rowStateOf = ({ write, context, paths }: Fresh, origins: OriginNumbers): string =>
  packFresh({ stamp: context, schema: write.schema ?? 0, paths }, origins);
