/** A client's request as one operation: checked, made and saved in the transaction that holds it. */
import type { Complaint } from "../streams/check.ts";
import { listPlacesMax, mismatchesOf, tooLarge, type Declared } from "./check.ts";
import { createEditor, type Editor, type MergeType } from "./editor.ts";
import type { Engine } from "./engine.ts";
import { changesOf } from "./fresh.ts";
import { show, withText, type ShownText } from "./body.ts";
import { mergePatch, type JsonObject } from "./json.ts";
import { brokenRule, type Touched } from "./rule-check.ts";
import { applyWrite, type Context } from "./merge.ts";
import type { WriteKey } from "./once.ts";
import type { Write } from "./operation.ts";
import { countMax, countOf, isAlive, isCounted, livingOf, type DocumentState } from "./state.ts";
import type { CollectionDeclaration, DocumentWrite, FieldChange } from "./store.ts";
import type { DocumentTables } from "./tables.ts";
import { lengthOf } from "./text.ts";

export type Written =
  | {
      readonly state: "written";
      readonly changed: number;
      readonly warnings: readonly string[];
      readonly versions: readonly (string | undefined)[];
    }
  | { readonly state: "refused"; readonly complaint: Complaint };

/** Nothing is changed by a request that is refused. */
export function writeDocuments(
  { engine, tables }: { engine: Engine; tables: DocumentTables },
  request: readonly DocumentWrite[],
  {
    declared,
    key,
    isAgain = false,
  }: {
    declared: Declared;
    key?: WriteKey | undefined;
    /** It was taken once: neither fields nor rules refuse it now. */
    isAgain?: boolean;
  },
): Written {
  const { documents } = engine;
  const versions = () => request.map(({ collection, id }) => documents.version(collection, id));
  if (key) {
    const known = tables.keyOf(key.id);
    if (known !== undefined && known !== key.logged.once)
      return { state: "refused", complaint: anotherWrite };
    // Of what an earlier version wrote the key is all that is known.
    if (known !== undefined || tables.hasKey(key.logged.key))
      return { state: "written", changed: 0, warnings: [], versions: versions() };
  }

  const context = engine.context();
  const writes: Write[] = [];
  const warnings: string[] = [];
  const ruling = isAgain ? undefined : documents.ruling;
  const touched = new Map<string, Touched>();
  const touch = (
    { collection, id }: DocumentWrite,
    index: number,
    { before, after }: Pick<Touched, "before" | "after">,
  ) => {
    if (!ruling?.concerns(collection)) return;
    const name = `${collection}\n${id}`;
    const first = touched.get(name);
    const at = placeOf(index, { collection, id });
    touched.set(name, { at, collection, id, before: first ? first.before : before, after });
  };
  for (const [index, wish] of request.entries()) {
    const collection = declared.get(wish.collection);
    const { collection: name, id } = wish;
    const begun = documents.isNew(name, id) ? beginPlain(wish, collection) : undefined;
    const shownNew = begun && documents.begin(begun, context);
    if (shownNew) {
      const found = { collection, before: undefined, after: shownNew, warnings };
      const problem = isAgain ? undefined : problemOf(wish, index, found);
      if (problem) {
        documents.drop();
        return { state: "refused", complaint: problem };
      }
      touch(wish, index, { before: undefined, after: shownNew.body });
      writes.push(begun);
      continue;
    }
    const state = documents.state(name, id);
    const wasAlive = isAlive(state);
    if (wish.do === "delete") {
      if (!wasAlive) continue;
      touch(wish, index, { before: show(state).body, after: undefined });
      const write: Write = { collection: name, id, verb: "delete", changes: [] };
      applyWrite(state, write, context);
      writes.push(write);
      continue;
    }
    const before = show(state).body;
    const { edits, deletions } = state;
    const write = {
      collection: name,
      id,
      verb: "edit",
      ...(collection ? { schema: collection.schemaVersion } : {}),
    } as const;
    const schemaBefore = state.schema;
    applyWrite(state, { ...write, changes: [] }, context);
    const editor = createEditor(state, context, typesOf(collection, state));
    // What a deleted document held must not come back with a new one of its name.
    if (!wasAlive) editor.clear();
    perform(editor, wish, before);
    if (wasAlive && editor.changes.length === 0) {
      state.edits = edits;
      state.deletions = deletions;
      state.schema = schemaBefore;
      continue;
    }
    const shown = withText(show(state));
    documents.keepShown(name, id, shown);
    const problem = isAgain
      ? undefined
      : (problemOf(wish, index, { collection, before, after: shown, warnings }) ??
        overgrown(placeOf(index, wish), state, editor, context));
    if (problem) {
      documents.drop();
      return { state: "refused", complaint: problem };
    }
    touch(wish, index, { before, after: shown.body });
    writes.push({ ...write, changes: editor.changes });
  }
  const broken = ruling && brokenRule({ claims: ruling.claims, declared }, [...touched.values()]);
  if (broken) {
    documents.drop();
    return { state: "refused", complaint: broken };
  }
  const versionsNow = versions();
  const changed = documents.save(writes);
  // A key is logged even when there was nothing to write: then it is known everywhere.
  if (writes.length > 0 || key !== undefined) engine.commit(context, writes, key?.logged);
  return { state: "written", changed, warnings, versions: versionsNow };
}

const anotherWrite: Complaint = {
  code: "invalid-query",
  message: "idempotency-key: another write was sent with it before",
  hint: "a key goes with one write; send the same again under it, or another key",
};

/** A whole body of plain fields as the write that it is where there is no document yet. */
function beginPlain(
  wish: DocumentWrite,
  collection: CollectionDeclaration | undefined,
): Write | undefined {
  if (wish.do !== "put") return undefined;
  const isTyped = ({ type }: CollectionDeclaration["fields"][number]) =>
    type === "counter" || type === "set" || type === "list" || type === "text";
  if (collection?.fields.some(isTyped)) return undefined;
  const changes = changesOf(wish.body);
  return (
    changes && {
      collection: wish.collection,
      id: wish.id,
      verb: "edit",
      ...(collection ? { schema: collection.schemaVersion } : {}),
      changes,
    }
  );
}

function perform(editor: Editor, wish: DocumentWrite, before: JsonObject | undefined): void {
  switch (wish.do) {
    case "put":
      return editor.become(wish.body, "", before);
    case "merge":
      return editor.become(mergePatch(before ?? {}, wish.patch), "", before);
    case "change":
      for (const change of wish.changes) performChange(editor, change);
      return;
    case "delete":
  }
}

function performChange(editor: Editor, change: FieldChange): void {
  switch (change.change) {
    case "set":
      return editor.assign(change.path, change.value);
    case "remove":
      return editor.become(undefined, change.path);
    case "increment":
      return editor.increment(change.path, change.by);
    case "add":
      return editor.add(change.path, change.value);
    case "discard":
      return editor.discard(change.path, change.value);
    case "insert":
      return editor.insert(change.path, change.index ?? Number.MAX_SAFE_INTEGER, change.values);
    case "delete":
      return editor.deleteAt(change.path, change.index, change.count ?? 1);
    case "edit":
      return editor.edit(change.path, change.delta);
  }
}

function problemOf(
  wish: DocumentWrite,
  index: number,
  found: {
    collection: CollectionDeclaration | undefined;
    before: JsonObject | undefined;
    after: ShownText;
    warnings: string[];
  },
): Complaint | undefined {
  const { collection, before, after, warnings } = found;
  const at = placeOf(index, wish);
  const large = after.text === null ? undefined : tooLarge(at, after.text);
  if (large && !isShrinking(before, after)) return large;
  const mismatches = collection ? mismatchesOf(collection, { before, after: after.body }) : [];
  if (mismatches.length === 0) return undefined;
  if (collection?.onMismatch === "warn") {
    warnings.push(...mismatches.map((mismatch) => `${at}: ${mismatch}`));
    return undefined;
  }
  return {
    code: "invalid-document",
    message: `${at}: ${mismatches.join("; ")}`,
    hint: "the fields are declared in the Collection; nothing was written",
  };
}

/** Merges may make a document larger than any one writer may: it is made smaller in as many writes as it takes. */
const isShrinking = (before: JsonObject | undefined, { text }: ShownText) =>
  before !== undefined &&
  Buffer.byteLength(text ?? "") <= Buffer.byteLength(JSON.stringify(before));

/** A field that this write made hold more than it may, with what it remembers of what was removed. */
function overgrown(
  at: string,
  state: DocumentState,
  { changes }: Editor,
  { origin }: Context,
): Complaint | undefined {
  for (const { type, path } of changes) {
    const cell = state.cells.get(path);
    if (!cell) continue;
    if (type === "count" && [countOf(cell), cell.counts.get(origin)?.total].some(isAtEnd)) {
      return {
        code: "invalid-document",
        message: `${at}: ${path} would count past 1.8e308`,
        hint: "set it to a number that is nearer, or begin a new document",
      };
    }
    if (type === "insert" && cell.list.length > listPlacesMax) {
      return {
        code: "document-too-large",
        message: `${at}: ${path} would remember ${cell.list.length} places, of elements that are there or were removed`,
        hint: `at most ${listPlacesMax} in a list; begin a new document, keep work that comes and goes in a stream, or write each element as a document`,
      };
    }
  }
  return undefined;
}

const isAtEnd = (sum = 0): boolean => Math.abs(sum) === countMax;

const placeOf = (index: number, { collection, id }: Pick<DocumentWrite, "collection" | "id">) =>
  `writes[${index}] (${collection}/${id})`;

/** A field that is not declared (here, or not yet) merges as whoever began it declared it. */
function typesOf(
  collection: CollectionDeclaration | undefined,
  state: DocumentState,
): (path: string) => MergeType {
  const types = new Map(collection?.fields.map(({ path, type }) => [path, type]));
  return (path) => {
    const type = types.get(path);
    if (type === "counter" || type === "set" || type === "list" || type === "text") return type;
    const cell = type === undefined ? state.cells.get(path) : undefined;
    if (!cell) return "register";
    if (livingOf(cell).length > 0) return "list";
    if (cell.members.size > 0) return "set";
    if (isCounted(cell)) return "counter";
    return lengthOf(cell.text) > 0 ? "text" : "register";
  };
}
