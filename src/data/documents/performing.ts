/** What a client asks for, as calls of an editor. */
import { createByPath } from "./by-path.ts";
import type { Editor } from "./editor.ts";
import { fieldOf, isObject, mergePatch, type JsonObject } from "./json.ts";
import { ancestorsOf, join } from "./pointer.ts";
import type { DocumentWrite, FieldChange } from "./store.ts";

/** `mayGoOn` is asked with the path of each piece of several changes, and ends it half done. */
export function perform(
  editor: Editor,
  wish: DocumentWrite,
  before: JsonObject | undefined,
  mayGoOn: (path: string) => boolean = () => true,
): void {
  switch (wish.do) {
    case "put":
      return editor.become(wish.body, "", before);
    case "merge":
      return mergeInto(editor, { path: "", current: before ?? {}, patch: wish.patch });
    case "change":
      for (const run of runsOf(wish.changes)) {
        if (!mayGoOn(run.path)) return;
        performRun(editor, run);
      }
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

type Run =
  | { readonly kind: "list"; readonly path: string; readonly steps: (FieldChange & OfList)[] }
  | { readonly kind: "text"; readonly path: string; readonly edits: (FieldChange & OfText)[] }
  | { readonly kind: "one"; readonly path: string; readonly change: Exclude<FieldChange, OfRun> };
type OfList = { readonly change: "insert" | "delete" };
type OfText = { readonly change: "edit" };
type OfRun = OfList | OfText;

/**
 * To open a list or a text takes as long as it is large: changes of it share that, as long as none
 * between them is of a field that contains it or that it contains. Fields beside it do not look at it.
 */
function runsOf(changes: readonly FieldChange[]): readonly Run[] {
  const runs: Run[] = [];
  /** Those that what comes may still join. */
  const open = createByPath<Run>();
  const begin = (run: Run) => {
    const { path } = run;
    for (const at of [...ancestorsOf(path), ...open.within(path)]) open.delete(at);
    if (run.kind !== "one") open.set(path, run);
    runs.push(run);
  };
  for (const change of changes) {
    const { path } = change;
    const last = open.get(path);
    switch (change.change) {
      case "insert":
      case "delete":
        if (isNothing(change)) break;
        if (last?.kind === "list") last.steps.push(change);
        else begin({ kind: "list", path, steps: [change] });
        break;
      case "edit":
        if (last?.kind === "text") last.edits.push(change);
        else begin({ kind: "text", path, edits: [change] });
        break;
      default:
        begin({ kind: "one", path, change });
    }
  }
  return runs;
}

const isNothing = (change: FieldChange & OfList): boolean =>
  change.change === "insert" ? change.values.length === 0 : change.count === 0;

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
