/**
 * Refuses a write that breaks a rule, by the documents that are here after all of it. What was there
 * before, by a merge or because nobody had declared the rule, is not held against the writer.
 */
import type { Complaint } from "../streams/check.ts";
import type { Declared } from "./check.ts";
import type { Claims, RuleRow } from "./claims.ts";
import { same, valueAt, type JsonObject } from "./json.ts";
import { namesOf } from "./pointer.ts";
import { isReference, keysOf, valuesAt } from "./rules.ts";

/** A document before and after a request; undefined: it is not there. */
export type Touched = {
  /** For a message. */
  readonly at: string;
  readonly collection: string;
  readonly id: string;
  readonly before: JsonObject | undefined;
  readonly after: JsonObject | undefined;
};

/** `value-taken`, `reference-missing` or `document-referenced`. */
export function brokenRule(
  { claims, declared }: { claims: Claims; declared: Declared },
  touched: readonly Touched[],
): Complaint | undefined {
  const byName = new Map(touched.map((document) => [nameOf(document), document]));
  const isThere = (collection: string, id: string) => {
    const document = byName.get(nameOf({ collection, id }));
    return document ? document.after !== undefined : claims.isThere(collection, id);
  };
  const claimants = claimantsIn(claims, touched);
  /** Somebody besides it who claims this after the request. */
  const other = (row: RuleRow, key: string, than?: string): string | undefined => {
    const inRequest = claimants.get(`${row.number} ${key}`)?.find((id) => id !== than);
    if (inRequest !== undefined) return inRequest;
    for (const id of claims.claimants(row, key))
      if (id !== than && !byName.has(nameOf({ collection: row.collection, id }))) return id;
    return undefined;
  };

  const unclaimable = (row: RuleRow, document: Touched): Complaint | undefined => {
    const { rule } = row;
    const { at, collection, id, before, after } = document;
    const had = keysOf(rule, before);
    if (rule.kind === "reference") {
      const value = valueAt(after, namesOf(rule.path));
      if (!isReference(value) && !same(valueAt(before, namesOf(rule.path)), value))
        return missing(document, rule, `${quoted(value)} must be the id, or a list of ids, of`);
    }
    for (const key of keysOf(rule, after)) {
      if (had.includes(key)) continue;
      if (rule.kind === "reference") {
        if (!isThere(rule.collection, key))
          return missing(document, rule, `there is no document ${quoted(key)} in`);
        continue;
      }
      const taker = other(row, key, id);
      if (taker === undefined) continue;
      const values = valuesAt(rule.paths, after ?? {}).map(quoted);
      const paths = rule.paths.join(", ");
      return {
        code: "value-taken",
        message: `${at}: ${paths}: ${values.join(", ")} is taken by ${collection}/${taker}`,
        hint: `${paths} is unique in Collection ${collection}; nothing was written`,
      };
    }
    return undefined;
  };
  const needed = ({ at, collection, id, before, after }: Touched): Complaint | undefined => {
    if (before === undefined || after !== undefined) return undefined;
    for (const row of claims.referencesTo(collection)) {
      const { rule } = row;
      const path = rule.kind === "reference" ? rule.path : "";
      const reference = declared
        .get(row.collection)
        ?.references?.find((each) => each.path === path && each.collection === collection);
      const referrer = reference?.onDelete === "refuse" ? other(row, id) : undefined;
      if (referrer !== undefined)
        return {
          code: "document-referenced",
          message: `${at}: ${row.collection}/${referrer} names it in ${path}`,
          hint: `change that first, or in the same request (Collection ${row.collection}: onDelete refuse); nothing was written`,
        };
    }
    return undefined;
  };

  for (const document of byName.values()) {
    for (const row of claims.rulesOf(document.collection)) {
      const complaint = unclaimable(row, document);
      if (complaint) return complaint;
    }
    const complaint = needed(document);
    if (complaint) return complaint;
  }
  return undefined;
}

/** Ids by rule and key. */
function claimantsIn(claims: Claims, touched: readonly Touched[]): ReadonlyMap<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { collection, id, after } of touched) {
    for (const row of claims.rulesOf(collection)) {
      for (const key of keysOf(row.rule, after)) {
        const name = `${row.number} ${key}`;
        const ids = found.get(name);
        if (ids) ids.push(id);
        else found.set(name, [id]);
      }
    }
  }
  return found;
}

const missing = (
  { at }: Touched,
  { path, collection }: { readonly path: string; readonly collection: string },
  problem: string,
): Complaint => ({
  code: "reference-missing",
  message: `${at}: ${path}: ${problem} ${collection}`,
  hint: "write that document first, or in the same request; nothing was written",
});

const nameOf = ({ collection, id }: Pick<Touched, "collection" | "id">) => `${collection}\n${id}`;

const quoted = (value: unknown) => JSON.stringify(value)?.slice(0, 60) ?? "nothing";
