/** Documents between their rows and the merge rules; those of one operation are saved together. */
import { show, withText, type Shown, type ShownText } from "./body.ts";
import { decodeState, encodeState, type OriginNumbers } from "./encode-state.ts";
import type { Claims } from "./claims.ts";
import { createFreshDocuments, rowStateOf, stateOf, type Fresh } from "./fresh.ts";
import type { JsonObject } from "./json.ts";
import { applyWrite, type Context } from "./merge.ts";
import type { Write } from "./operation.ts";
import { joinStates, type Side } from "./join.ts";
import { createRuling, type Ruling } from "./ruling.ts";
import { emptyState, type DocumentState } from "./state.ts";
import type { DocumentRow, DocumentTables, StagedRow } from "./tables.ts";

export interface Documents {
  /** Undefined: this store knows no rules between documents. */
  readonly ruling: Ruling | undefined;
  /** To be changed in place; `save` writes it. */
  state(collection: string, id: string): DocumentState;
  /** What `show` says of the state as it is now, and its body as JSON; spares `save` to ask again. */
  keepShown(collection: string, id: string, shown: ShownText): void;
  version(collection: string, id: string): string | undefined;
  /**
   * Applies a write that begins a document and sets plain fields only, and says what it shows. Undefined,
   * and nothing applied, for every other.
   */
  begin(write: Write, context: Context): ShownText | undefined;
  /** There is no such document, and nothing was done to it since the last `save`. */
  isNew(collection: string, id: string): boolean;
  /** False when a change in it is not known to this version. */
  apply(write: Write, context: Context): boolean;
  /** Saves the documents that these name, forgets all others that were asked for; answers how many. */
  save(writes: readonly Pick<Write, "collection" | "id">[]): number;
  /** Another store's state of a document, and saves it; of each store, what it has applied. */
  join(row: StagedRow, covers: { ours: Side["covers"]; theirs: Side["covers"] }): void;
  /** Forgets what was asked for. */
  drop(): void;
  /** A state as it stands in a row. */
  rowOf(state: DocumentState, at: Pick<StagedRow, "collection" | "id">): StagedRow;
  shown(collection: string, id: string): Shown;
  read(row: StagedRow): DocumentState;
  /** Collections with documents saved since the last call. */
  takeTouched(): readonly string[];
  /** After changes were undone. */
  forget(): void;
}

/** `state` of a fresh one is made when somebody asks for it. */
type Open = { state?: DocumentState; fresh?: Fresh; shown?: ShownText };

export function createDocuments(
  { tables, claims }: { tables: DocumentTables; claims?: Claims | undefined },
  origins: OriginNumbers,
): Documents {
  const open = new Map<string, Open>();
  const freshDocuments = createFreshDocuments();
  let touched = new Set<string>();
  let change = tables.lastChange();

  const read = ({ body, state }: StagedRow): DocumentState =>
    decodeState(state, body === null ? undefined : (JSON.parse(body) as JsonObject), origins);

  /** As it is now, saved or not. */
  const peek = (collection: string, id: string): DocumentState => {
    const known = open.get(`${collection}\n${id}`);
    if (known) return stateAt(known);
    const row = tables.document(collection, id);
    return row ? read(row) : emptyState();
  };
  const rowOf = (
    state: DocumentState,
    { collection, id }: Pick<StagedRow, "collection" | "id">,
  ): StagedRow => {
    const { body, conflicts, text } = withText(show(state));
    const encoded = encodeState(state, body, origins);
    return { collection, id, body: text, state: encoded, conflicts: conflicts.length };
  };
  const stateAt = (known: Open): DocumentState =>
    (known.state ??= known.fresh ? stateOf(known.fresh) : emptyState());

  const ruling =
    claims &&
    createRuling({
      claims,
      tables,
      read,
      nextChange: () => ++change,
      touch: (collection) => touched.add(collection),
    });
  const saveRow = (row: DocumentRow, state: () => DocumentState): void => {
    if (ruling?.concerns(row.collection)) ruling.save(row, state());
    else tables.saveDocument(row);
    touched.add(row.collection);
  };

  const documents: Documents = {
    ruling,
    read,
    state(collection, id) {
      const state = peek(collection, id);
      open.set(`${collection}\n${id}`, { state });
      return state;
    },
    keepShown(collection, id, shown) {
      const known = open.get(`${collection}\n${id}`);
      if (known) known.shown = shown;
    },
    version(collection, id) {
      const fresh = open.get(`${collection}\n${id}`)?.fresh;
      return versionOf(fresh ? { edits: [fresh.context] } : peek(collection, id));
    },
    begin(write, context) {
      const fresh =
        documents.isNew(write.collection, write.id) && freshDocuments.of(write, context);
      if (!fresh) return undefined;
      open.set(`${write.collection}\n${write.id}`, { fresh, shown: fresh.shown });
      return fresh.shown;
    },
    isNew(collection, id) {
      const key = `${collection}\n${id}`;
      const known = open.get(key);
      if (known) return known.state === undefined && known.fresh === undefined;
      const row = tables.document(collection, id);
      open.set(key, row ? { state: read(row) } : {});
      return row === undefined;
    },
    apply: (write, context) =>
      documents.begin(write, context) !== undefined ||
      applyWrite(documents.state(write.collection, write.id), write, context),
    save(writes) {
      const saved = new Set<string>();
      for (const { collection, id } of writes) {
        const key = `${collection}\n${id}`;
        const document = open.get(key);
        if (!document || saved.has(key)) continue;
        saved.add(key);
        const { fresh } = document;
        const { body, conflicts, text } = document.shown ?? withText(show(stateAt(document)));
        const row = {
          collection,
          id,
          body: text,
          state: fresh ? rowStateOf(fresh, origins) : encodeState(stateAt(document), body, origins),
          change: ++change,
          conflicts: conflicts.length,
        };
        saveRow(row, () => stateAt(document));
      }
      open.clear();
      return saved.size;
    },
    join(row, { ours, theirs }) {
      const { collection, id } = row;
      const there = tables.document(collection, id);
      if (there?.state === row.state && there.body === row.body) return;
      const joined =
        there &&
        joinStates({ state: read(there), covers: ours }, { state: read(row), covers: theirs });
      const saved = { ...(joined ? rowOf(joined, row) : row), change: ++change };
      saveRow(saved, () => joined ?? read(row));
    },
    rowOf,
    drop: () => open.clear(),
    shown: (collection, id) => show(peek(collection, id)),
    takeTouched() {
      const collections = [...touched];
      touched = new Set();
      return collections;
    },
    forget() {
      // `touched` stays: a reader woken for nothing reads nothing, one not woken would wait.
      open.clear();
      change = tables.lastChange();
    },
  };
  return documents;
}

/** The edits that no other edit replaced; equal wherever the same edits were seen. */
export function versionOf({ edits }: Pick<DocumentState, "edits">): string | undefined {
  const [first, second] = edits;
  if (!first) return undefined;
  if (!second) return `${first.origin}-${first.sequence}`;
  return edits
    .map(({ origin, sequence }) => `${origin}-${sequence}`)
    .sort()
    .join(",");
}
