/**
 * Histories of one document, made by several writers that hear of each other now and then; each
 * operation with all that its writer knew. For tests of the merge rules, without a store.
 */
import type { TextDelta } from "../../src/api/records/index.ts";
import { createEditor, type MergeType } from "../../src/data/documents/editor.ts";
import type { Json, JsonObject } from "../../src/data/documents/json.ts";
import { applyWrite, type Context } from "../../src/data/documents/merge.ts";
import { emptyState, isAlive, type DocumentState } from "../../src/data/documents/state.ts";
import type { Made } from "../../src/drill/simulated/convergence/documents-model.ts";

export type Action =
  | { readonly do: "become"; readonly path: string; readonly value: Json | undefined }
  | { readonly do: "put"; readonly body: JsonObject }
  | { readonly do: "increment"; readonly by: number }
  | { readonly do: "add" | "discard"; readonly value: Json }
  | { readonly do: "insert"; readonly index: number; readonly values: readonly Json[] }
  | { readonly do: "deleteAt"; readonly index: number }
  | { readonly do: "edit"; readonly delta: TextDelta }
  | { readonly do: "delete" };

export type Step =
  | { readonly writer: number; readonly actions: readonly Action[]; readonly hlc: number }
  /** Hears of everything that another one knows. */
  | { readonly writer: number; readonly hears: number };

export const originOf = (writer: number) => `w${writer}`;

/** The last writer has a schema of its own: fields that changed their type. */
export const typesOf =
  (writer: number) =>
  (path: string): MergeType => {
    const drifted = writer === 2;
    if (path === "/n") return drifted ? "register" : "counter";
    if (path === "/s") return drifted ? "list" : "set";
    if (path === "/l") return drifted ? "set" : "list";
    if (path === "/t") return drifted ? "register" : "text";
    return "register";
  };

export const contextOf = ({
  origin,
  sequence,
  hlc,
  known,
}: Omit<Made, "verb" | "changes">): Context => ({
  origin,
  sequence,
  hlc,
  covers: (dot) =>
    dot.origin === origin ? dot.sequence <= sequence : dot.sequence <= (known.get(dot.origin) ?? 0),
});

export const applyMade = (state: DocumentState, made: Made): void =>
  void applyWrite(
    state,
    { collection: "c", id: "d", verb: made.verb, changes: made.changes },
    contextOf(made),
  );

/** All operations in an order in which they may have come about. */
export function makeHistory(steps: readonly Step[], writers = 3): Made[] {
  const all: Made[] = [];
  const places = Array.from({ length: writers }, () => ({
    state: emptyState(),
    known: new Map<string, number>(),
  }));
  for (const step of steps) {
    const place = places[step.writer];
    if (!place) continue;
    if ("hears" in step) {
      const other = places[step.hears]?.known ?? new Map<string, number>();
      for (const made of all) {
        const top = place.known.get(made.origin) ?? 0;
        if (made.sequence <= top || made.sequence > (other.get(made.origin) ?? 0)) continue;
        applyMade(place.state, made);
        place.known.set(made.origin, made.sequence);
      }
      continue;
    }
    const origin = originOf(step.writer);
    const sequence = (place.known.get(origin) ?? 0) + 1;
    const stamp = { origin, sequence, hlc: step.hlc, known: new Map(place.known) };
    const made = { ...stamp, ...change(place.state, step, contextOf(stamp)) };
    place.known.set(origin, sequence);
    all.push(made);
  }
  return all;
}

/** Works on the writer's own state, as the engine does. */
function change(
  state: DocumentState,
  { writer, actions }: Extract<Step, { actions: unknown }>,
  context: Context,
): Pick<Made, "verb" | "changes"> {
  const write = { collection: "c", id: "d" };
  if (actions.some((action) => action.do === "delete")) {
    applyWrite(state, { ...write, verb: "delete", changes: [] }, context);
    return { verb: "delete", changes: [] };
  }
  const before = isAlive(state);
  applyWrite(state, { ...write, verb: "edit", changes: [] }, context);
  const editor = createEditor(state, context, typesOf(writer));
  // What a deleted document held must not come back with a new one of its name.
  if (!before) editor.clear();
  for (const action of actions) perform(editor, action);
  return { verb: "edit", changes: [...editor.changes] };
}

function perform(editor: ReturnType<typeof createEditor>, action: Action): void {
  switch (action.do) {
    case "become":
      return editor.become(action.value, action.path);
    case "put":
      return editor.become(action.body);
    case "increment":
      return editor.increment("/n", action.by);
    case "add":
      return editor.add("/s", action.value);
    case "discard":
      return editor.discard("/s", action.value);
    case "insert":
      return editor.changeList("/l", [{ change: "insert", ...action }]);
    case "deleteAt":
      return editor.changeList("/l", [{ change: "delete", index: action.index }]);
    case "edit":
      return editor.edit("/t", action.delta);
    case "delete":
  }
}
