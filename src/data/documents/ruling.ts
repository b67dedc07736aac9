/**
 * What rules say of the documents that are here, whatever merges made of them: claims that follow the
 * documents, and the conflicts of those whose claim does not hold. A write looks at the documents that
 * claimed what it claims or gave up, and at those that name what came or went; of very many of these
 * it leaves the rest to `step`.
 */
import { stampMs } from "./hybrid-clock.ts";
import { show, type Conflict } from "./body.ts";
import type { Claims, RuleRow } from "./claims.ts";
import type { JsonObject } from "./json.ts";
import { claimsOf, valuesAt } from "./rules.ts";
import type { DocumentState } from "./state.ts";
import type { DocumentRow, DocumentTables, StagedRow } from "./tables.ts";

type Place = Pick<DocumentRow, "collection" | "id">;

export interface Ruling {
  readonly claims: Claims;
  concerns(collection: string): boolean;
  /** Saves a row whose conflicts are those of the document alone. */
  save(row: DocumentRow, state: DocumentState): void;
  /** What a document's rules say of it; it is there. */
  conflictsOf(at: Place, body: JsonObject): readonly Conflict[];
  /** Whether `step` has something to do. */
  readonly isBehind: boolean;
  /** A piece of what is to be looked at; false when there was nothing. */
  step(): boolean;
}

/** Documents that are looked at in one go. */
const documentsPerStep = 100;
const claimsPerStep = 500;

export function createRuling(deps: {
  claims: Claims;
  tables: Pick<DocumentTables, "document" | "saveDocument">;
  read(row: StagedRow): DocumentState;
  nextChange(): number;
  touch(collection: string): void;
}): Ruling {
  const { claims, tables, read } = deps;

  const conflictsOf: Ruling["conflictsOf"] = ({ collection, id }, body) =>
    claims.rulesOf(collection).flatMap((row) =>
      claims.of(row, id).flatMap(({ key }): Conflict[] => {
        const { rule } = row;
        if (rule.kind === "reference") {
          const isThere =
            (rule.collection === collection && key === id) || claims.isThere(rule.collection, key);
          const { path, collection: target } = rule;
          return isThere ? [] : [{ kind: "reference-missing", path, collection: target, id: key }];
        }
        const first = claims.first(row, key);
        if (!first || first.id === id) return [];
        const { paths } = rule;
        const { origin, sequence, hlc } = first;
        const by = { id: first.id, origin, sequence, atMs: stampMs(hlc) };
        const values = valuesAt(paths, body).map((value) => value ?? null);
        return [{ kind: "value-taken", path: paths[0] ?? "", paths, values, by }];
      }),
    );
  /** A document that did not change, but may be in another conflict, or in none. */
  const recount = (collection: string, id: string): void => {
    const row = tables.document(collection, id);
    if (!row) return;
    const { body, conflicts: own } = show(read(row));
    if (body === undefined) return;
    const conflicts = own.length + conflictsOf(row, body).length;
    if (conflicts === row.conflicts) return;
    tables.saveDocument({ ...row, conflicts, change: deps.nextChange() });
    deps.touch(collection);
  };
  const lookAtReferrers = (row: RuleRow, key: string, after: string): void => {
    const found = claims.referrers(row, key, after, documentsPerStep);
    for (const id of found) recount(row.collection, id);
    claims.postpone(row, key, found.length < documentsPerStep ? undefined : found.at(-1));
  };
  const claim = (row: RuleRow, { collection, id }: Place): void => {
    const document = tables.document(collection, id);
    if (!document) return;
    const state = read(document);
    const { body } = show(state);
    if (body === undefined) return;
    const others = claims.replace(row, id, claimsOf(row.rule, body, state));
    for (const other of [id, ...others]) recount(collection, other);
  };

  return {
    claims,
    concerns: (collection) => claims.concern(collection),
    save(row, state) {
      const { collection, id } = row;
      const { body } = show(state);
      const wasThere = claims.isThere(collection, id);
      const others = claims
        .rulesOf(collection)
        .flatMap((each) =>
          claims.replace(each, id, body === undefined ? [] : claimsOf(each.rule, body, state)),
        );
      const more = body === undefined ? 0 : conflictsOf(row, body).length;
      tables.saveDocument({ ...row, conflicts: row.conflicts + more });
      for (const other of others) recount(collection, other);
      if (wasThere === (body !== undefined)) return;
      for (const each of claims.referencesTo(collection)) lookAtReferrers(each, id, "");
    },
    conflictsOf,
    get isBehind() {
      return claims.unfinished() !== undefined || claims.pending() !== undefined;
    },
    step() {
      const pending = claims.pending();
      if (pending) {
        lookAtReferrers(pending.rule, pending.key, pending.after);
        return true;
      }
      const row = claims.unfinished();
      if (!row) return false;
      const { collection } = row;
      if (row.state === "dropped") {
        for (const id of claims.removeSome(row, claimsPerStep)) recount(collection, id);
        return true;
      }
      const found = claims.documents(row, documentsPerStep);
      for (const id of found) claim(row, { collection, id });
      claims.built(row, found.length < documentsPerStep ? undefined : found.at(-1));
      return true;
    },
  };
}
