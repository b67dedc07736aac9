/** Documents between their rows and the merge rules; those of one operation are saved together. */
import { show, type Shown } from "./body.ts";
import { decodeState, encodeState, type OriginNumbers } from "./encode-state.ts";
import type { JsonObject } from "./json.ts";
import { applyWrite, type Context } from "./merge.ts";
import type { Write } from "./operation.ts";
import { emptyState, type DocumentState } from "./state.ts";
import type { DocumentRow, DocumentTables } from "./tables.ts";

export interface Documents {
  /** To be changed in place; `save` writes it. */
  state(collection: string, id: string): DocumentState;
  /** False when a change in it is not known to this version. */
  apply(write: Write, context: Context): boolean;
  /** Saves the documents that these name, forgets all others that were asked for; answers how many. */
  save(writes: readonly Pick<Write, "collection" | "id">[]): number;
  /** Forgets what was asked for. */
  drop(): void;
  shown(collection: string, id: string): Shown & { readonly version: string | undefined };
  read(row: DocumentRow): DocumentState;
  /** Collections with documents saved since the last call. */
  takeTouched(): readonly string[];
  /** After changes were undone. */
  forget(): void;
}

export function createDocuments(tables: DocumentTables, origins: OriginNumbers): Documents {
  const open = new Map<string, { collection: string; id: string; state: DocumentState }>();
  let touched = new Set<string>();
  let change = tables.lastChange();

  const read = ({ body, state }: DocumentRow): DocumentState =>
    decodeState(state, body === null ? undefined : (JSON.parse(body) as JsonObject), origins);

  const documents: Documents = {
    read,
    state(collection, id) {
      const key = `${collection}\n${id}`;
      const known = open.get(key);
      if (known) return known.state;
      const row = tables.document(collection, id);
      const state = row ? read(row) : emptyState();
      open.set(key, { collection, id, state });
      return state;
    },
    apply: (write, context) =>
      applyWrite(documents.state(write.collection, write.id), write, context),
    save(writes) {
      const saved = new Set<string>();
      for (const { collection, id } of writes) {
        const key = `${collection}\n${id}`;
        const state = open.get(key)?.state;
        if (!state || saved.has(key)) continue;
        saved.add(key);
        const { body, conflicts } = show(state);
        tables.saveDocument({
          collection,
          id,
          body: body === undefined ? null : JSON.stringify(body),
          state: encodeState(state, body, origins),
          change: ++change,
          conflicts: conflicts.length,
        });
        touched.add(collection);
      }
      open.clear();
      return saved.size;
    },
    drop: () => open.clear(),
    shown(collection, id) {
      const key = `${collection}\n${id}`;
      const row = tables.document(collection, id);
      const state = open.get(key)?.state ?? (row ? read(row) : emptyState());
      return { ...show(state), version: versionOf(state) };
    },
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
export const versionOf = ({ edits }: DocumentState): string | undefined =>
  edits.length === 0
    ? undefined
    : edits
        .map(({ origin, sequence }) => `${origin}-${sequence}`)
        .sort()
        .join(",");
