/** What a client asks for, as calls of an editor. */
import type { Editor } from "./editor.ts";
import { fieldOf, isObject, mergePatch, type JsonObject } from "./json.ts";
import { ancestorsOf, join } from "./pointer.ts";
import type { DocumentWrite, FieldChange } from "./store.ts";

export function perform(editor: Editor, wish: DocumentWrite, before: JsonObject | undefined): void {
  switch (wish.do) {
    case "put":
      return editor.become(wish.body, "", before);
    case "merge":
      return mergeInto(editor, { path: "", current: before ?? {}, patch: wish.patch });
    case "change":
      for (const run of runsOf(fieldByField(wish.changes))) performRun(editor, run);
      return;
    case "delete":
  }
}

/** Only what the patch names is written, and settled. */
function mergeInto(
  editor: Editor,
  { path, current, patch }: { path: string; current: JsonObject; patch: JsonObject },
): void {
  for (const [name, value] of Object.entries(patch)) {
    const at = join(path, name);
    const inner = fieldOf(current, name);
    if (value === null) editor.become(undefined, at, inner);
    else if (isObject(value) && isObject(inner) && !editor.isContested(at))
      mergeInto(editor, { path: at, current: inner, patch: value });
    else editor.become(mergePatch(inner, value), at, inner);
  }
}

/** Where no field contains another, what is changed in one does not look at the others. */
function fieldByField(changes: readonly FieldChange[]): readonly FieldChange[] {
  const byPath = Map.groupBy(changes, ({ path }) => path);
  const containing = new Set([...byPath.keys()].flatMap(ancestorsOf));
  if (byPath.keys().some((path) => containing.has(path))) return changes;
  return [...byPath.values()].flat();
}

type Run =
  | { readonly kind: "list"; readonly path: string; readonly steps: (FieldChange & OfList)[] }
  | { readonly kind: "text"; readonly path: string; readonly edits: (FieldChange & OfText)[] }
  | { readonly kind: "one"; readonly change: Exclude<FieldChange, OfList | OfText> };
type OfList = { readonly change: "insert" | "delete" };
type OfText = { readonly change: "edit" };

/** To open a list or a text takes as long as it is large: changes of it that follow each other share that. */
function runsOf(changes: readonly FieldChange[]): readonly Run[] {
  const runs: Run[] = [];
  for (const change of changes) {
    const { path } = change;
    const last = runs.at(-1);
    switch (change.change) {
      case "insert":
      case "delete":
        if (last?.kind === "list" && last.path === path) last.steps.push(change);
        else runs.push({ kind: "list", path, steps: [change] });
        break;
      case "edit":
        if (last?.kind === "text" && last.path === path) last.edits.push(change);
        else runs.push({ kind: "text", path, edits: [change] });
        break;
      default:
        runs.push({ kind: "one", change });
    }
  }
  return runs;
}

function performRun(editor: Editor, run: Run): void {
  if (run.kind === "list") return editor.changeList(run.path, run.steps);
  if (run.kind === "text") return editor.edit(run.path, ...run.edits.map(({ delta }) => delta));
  const { change } = run;
  switch (change.change) {
    case "set":
      return editor.become(change.value, change.path);
    case "remove":
      return editor.become(undefined, change.path);
    case "increment":
      return editor.increment(change.path, change.by);
    case "add":
      return editor.add(change.path, change.value);
    case "discard":
      return editor.discard(change.path, change.value);
  }
}
