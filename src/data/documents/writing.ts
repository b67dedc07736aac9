/** A client's request as one operation: checked, made and saved in the transaction that holds it. */
import type { Complaint } from "../streams/check.ts";
import { erasedBy, mismatchesOf, placesWalkedMax, type Declared } from "./check.ts";
import { createEditor, type MergeType } from "./editor.ts";
import type { Engine } from "./engine.ts";
import { changesOf } from "./fresh.ts";
import { show, withText, type ShownText } from "./body.ts";
import type { JsonObject } from "./json.ts";
import { perform } from "./performing.ts";
import { brokenRule, type Touched } from "./rule-check.ts";
import { applyWrite } from "./merge.ts";
import {
  documentOutgrown,
  fieldOutgrown,
  placesWithin,
  textBytesOf,
  textsOutgrown,
  walkedTooFar,
} from "./outgrown.ts";
import type { WriteKey } from "./once.ts";
import type { Write } from "./operation.ts";
import { isAlive, isCounted, livingOf, type DocumentState } from "./state.ts";
import type { CollectionDeclaration, DocumentWrite } from "./store.ts";
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
  let walked = 0;
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
      const found = { collection, before: undefined, after: shownNew, warnings, schema: 0 };
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
    const { body: before, conflicts } = show(state);
    const { edits, deletions } = state;
    const write = {
      collection: name,
      id,
      verb: "edit",
      ...(collection ? { schema: collection.schemaVersion } : {}),
    } as const;
    const schemaBefore = state.schema;
    const textBytes = textBytesOf(state);
    applyWrite(state, { ...write, changes: [] }, context);
    // What a store writes by itself has seen nobody's conflicts.
    const seen = isAgain ? [] : conflicts;
    const contested = seen.filter(({ kind }) => kind === "concurrent-writes");
    const editor = createEditor(
      state,
      context,
      typesOf(collection, state),
      contested.map(({ path }) => path),
    );
    // What a deleted document held must not come back with a new one of its name.
    if (!wasAlive) editor.clear();
    perform(editor, wish, before, (path) => {
      walked += placesWithin(state, path);
      return isAgain || walked <= placesWalkedMax;
    });
    const far = isAgain ? undefined : walkedTooFar(placeOf(index, wish), walked);
    if (far) {
      documents.drop();
      return { state: "refused", complaint: far };
    }
    const isSettling = seen.some(({ kind }) => kind === "deleted-and-edited");
    if (wasAlive && editor.changes.length === 0 && !isSettling) {
      state.edits = edits;
      state.deletions = deletions;
      state.schema = schemaBefore;
      continue;
    }
    const shown = withText(show(state));
    documents.keepShown(name, id, shown);
    const problem = isAgain
      ? undefined
      : (problemOf(wish, index, {
          ...{ collection, before, after: shown, warnings },
          schema: schemaBefore,
        }) ??
        fieldOutgrown(placeOf(index, wish), state, editor, context) ??
        textsOutgrown(placeOf(index, wish), textBytes, state));
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

function problemOf(
  wish: DocumentWrite,
  index: number,
  found: {
    collection: CollectionDeclaration | undefined;
    before: JsonObject | undefined;
    after: ShownText;
    /** The highest that anybody wrote it with before. */
    schema: number;
    warnings: string[];
  },
): Complaint | undefined {
  const { collection, before, after, schema, warnings } = found;
  const at = placeOf(index, wish);
  const large = documentOutgrown(at, before, after);
  if (large) return large;
  const mismatches = collection ? mismatchesOf(collection, { before, after: after.body }) : [];
  if (collection && before && wish.do === "put")
    mismatches.push(...erasedBy(collection, { schema, before, after: wish.body }));
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
