/**
 * Which document claims what by the rules of its collection, in tables of their own: who claims a value
 * is found by the value, the earliest claim first. A write keeps them in its own transaction; those of
 * documents that were there before a rule are made in small steps between other writes.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import { keepRows } from "./kept-rows.ts";
import { ruleText, type Claim, type Rule } from "./rules.ts";

export const claimLayout = `
-- text: what is claimed, as JSON. state: building (up to built_to), whole, or dropped.
CREATE TABLE rule(
  number INTEGER PRIMARY KEY, collection TEXT NOT NULL, text TEXT NOT NULL,
  state TEXT NOT NULL, built_to TEXT NOT NULL);
CREATE TABLE claim(
  rule INTEGER NOT NULL, key TEXT NOT NULL, hlc INTEGER NOT NULL, origin TEXT NOT NULL,
  sequence INTEGER NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY(rule, key, hlc, origin, sequence, id)) WITHOUT ROWID;
CREATE INDEX claim_document ON claim(rule, id);
-- Documents that name one which came or went, and are still to be looked at, from an id on.
CREATE TABLE claim_pending(
  rule INTEGER NOT NULL, key TEXT NOT NULL, after TEXT NOT NULL, PRIMARY KEY(rule, key)) WITHOUT ROWID;
`;

export type RuleRow = {
  readonly number: number;
  /** Whose documents claim. */
  readonly collection: string;
  readonly rule: Rule;
  readonly state: "building" | "whole" | "dropped";
  readonly builtTo: string;
};

export type ClaimOf = Claim & { readonly id: string };
export type Pending = { readonly rule: RuleRow; readonly key: string; readonly after: string };

/** What changes anything runs inside a transaction of its owner. */
export interface Claims {
  /** Whether `declare` would change anything. */
  differ(collection: string, rules: readonly Rule[]): boolean;
  /** What is not named is dropped. */
  declare(collection: string, rules: readonly Rule[]): void;
  /** Whether a rule is of this collection, or names it. */
  concern(collection: string): boolean;
  rulesOf(collection: string): readonly RuleRow[];
  /** Rules by which documents of any collection name those of this one. */
  referencesTo(collection: string): readonly RuleRow[];
  /** Whether there is such a document now. */
  isThere(collection: string, id: string): boolean;
  /** What a document claims by a rule. */
  of(rule: RuleRow, id: string): readonly Claim[];
  /** The earliest. */
  first(rule: RuleRow, key: string): ClaimOf | undefined;
  /** Ids of all that claim it, earliest first. */
  claimants(rule: RuleRow, key: string): Iterable<string>;
  /** Of a reference, in the order of ids. */
  referrers(rule: RuleRow, key: string, after: string, limit: number): readonly string[];
  /** Answers the documents besides that became, or no longer are, the earliest. */
  replace(rule: RuleRow, id: string, claims: readonly Claim[]): readonly string[];
  /** Goes on with these referrers later; undefined: all were looked at. */
  postpone(rule: RuleRow, key: string, after: string | undefined): void;
  pending(): Pending | undefined;
  /** One whose claims are not all made, or not all removed. */
  unfinished(): RuleRow | undefined;
  /** Ids of documents that are there. */
  documents(rule: RuleRow, limit: number): readonly string[];
  /** Undefined: its claims are whole. */
  built(rule: RuleRow, upto: string | undefined): void;
  /** Removes some claims of a rule that was dropped, and answers whose; none: it is gone. */
  removeSome(rule: RuleRow, limit: number): readonly string[];
  /** All documents are gone. */
  clear(): void;
  /** After a transaction was undone. */
  forget(): void;
}

type ReferenceRow = RuleRow & { readonly rule: Rule & { readonly kind: "reference" } };
const isReference = (row: RuleRow): row is ReferenceRow => row.rule.kind === "reference";

/** The same on every store, whenever it heard of which: conflicts are told in this order. */
function isBefore(a: RuleRow, b: RuleRow): boolean {
  if (a.collection !== b.collection) return a.collection < b.collection;
  return ruleText(a.rule) < ruleText(b.rule);
}

export function createClaims(db: Database): Claims {
  const statements = {
    rules: db.prepare(
      "SELECT number, collection, text, state, built_to FROM rule ORDER BY collection, text",
    ),
    addRule: db.prepare(
      `INSERT INTO rule(collection, text, state, built_to) VALUES (?, ?, 'building', '')
       RETURNING number`,
    ),
    setState: db.prepare("UPDATE rule SET state = ?, built_to = ? WHERE number = ?"),
    deleteRule: db.prepare("DELETE FROM rule WHERE number = ?"),
    isThere: db.prepare(
      `SELECT 1 FROM document WHERE id = ? AND body IS NOT NULL
         AND collection = (SELECT id FROM collection WHERE name = ?)`,
    ),
    of: db.prepare(
      "SELECT key, hlc, origin, sequence FROM claim WHERE rule = ? AND id = ? ORDER BY key",
    ),
    claimants: db.prepare(
      `SELECT key, hlc, origin, sequence, id FROM claim WHERE rule = ? AND key = ?
       ORDER BY hlc, origin, sequence, id`,
    ),
    referrers: db.prepare(
      `SELECT id FROM claim WHERE rule = ? AND key = ? AND hlc = 0 AND origin = ''
         AND sequence = 0 AND id > ? ORDER BY id LIMIT ?`,
    ),
    add: db.prepare("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?, ?)"),
    remove: db.prepare("DELETE FROM claim WHERE rule = ? AND key = ? AND id = ?"),
    some: db.prepare("SELECT key, id FROM claim WHERE rule = ? LIMIT ?"),
    postpone: db.prepare("INSERT OR REPLACE INTO claim_pending VALUES (?, ?, ?)"),
    settle: db.prepare("DELETE FROM claim_pending WHERE rule = ? AND key = ?"),
    pending: db.prepare("SELECT rule, key, after FROM claim_pending LIMIT 1"),
    documents: db.prepare(
      `SELECT id FROM document WHERE id > ? AND body IS NOT NULL
         AND collection = (SELECT id FROM collection WHERE name = ?) ORDER BY id LIMIT ?`,
    ),
  };
  const read = () =>
    statements.rules.all().map((row): RuleRow => ({
      number: Number(row["number"]),
      collection: String(row["collection"]),
      rule: JSON.parse(String(row["text"])) as Rule,
      state: String(row["state"]) as RuleRow["state"],
      builtTo: String(row["built_to"]),
    }));
  const keep = () => {
    const rows = read();
    return {
      rules: keepRows(rows, { keyOf: ({ collection }) => collection, isBefore }),
      /** By the collection that they name. */
      references: keepRows(rows.filter(isReference), {
        keyOf: ({ rule }: ReferenceRow) => rule.collection,
        isBefore,
      }),
    };
  };
  let { rules, references } = keep();
  const load = () => {
    ({ rules, references } = keep());
  };
  const put = (row: RuleRow) => {
    rules.put(row);
    if (isReference(row)) references.put(row);
  };
  const setState = (row: RuleRow, state: RuleRow["state"], builtTo: string) => {
    statements.setState.run(state, builtTo, row.number);
    put({ ...row, state, builtTo });
  };
  const claimOf = (row: Record<string, unknown>): Claim => ({
    key: String(row["key"]),
    hlc: Number(row["hlc"]),
    origin: String(row["origin"]),
    sequence: Number(row["sequence"]),
  });
  const idsOf = (found: readonly Record<string, unknown>[]) => found.map(({ id }) => String(id));

  const claims: Claims = {
    differ(collection, rules) {
      const here = claims.rulesOf(collection).map(({ rule }) => ruleText(rule));
      return here.length !== rules.length || rules.some((rule) => !here.includes(ruleText(rule)));
    },
    declare(collection, rules) {
      const wanted = new Set(rules.map(ruleText));
      for (const row of claims.rulesOf(collection))
        if (!wanted.delete(ruleText(row.rule))) setState(row, "dropped", "");
      for (const text of wanted) {
        const number = Number(statements.addRule.get(collection, text)?.["number"]);
        const rule = JSON.parse(text) as Rule;
        put({ number, collection, rule, state: "building", builtTo: "" });
      }
    },
    concern: (collection) => rules.has(collection) || references.has(collection),
    rulesOf: (collection) => rules.of(collection),
    referencesTo: (collection) => references.of(collection),
    isThere: (collection, id) => statements.isThere.get(id, collection) !== undefined,
    of: ({ number }, id) => statements.of.all(number, id).map(claimOf),
    first({ number }, key) {
      const row = statements.claimants.get(number, key);
      return row && { ...claimOf(row), id: String(row["id"]) };
    },
    *claimants({ number }, key) {
      for (const { id } of statements.claimants.iterate(number, key)) yield String(id);
    },
    referrers: ({ number }, key, after, limit) =>
      idsOf(statements.referrers.all(number, key, after, limit)),
    replace(row, id, wanted) {
      const had = claims.of(row, id);
      const isSame = (a: Claim, b: Claim) =>
        a.key === b.key && a.hlc === b.hlc && a.origin === b.origin && a.sequence === b.sequence;
      const gone = had.filter((claim) => !wanted.some((other) => isSame(claim, other)));
      const come = wanted.filter((claim) => !had.some((other) => isSame(claim, other)));
      const keys = new Set([...gone, ...come].map(({ key }) => key));
      const firsts = () => [...keys].map((key) => claims.first(row, key)?.id);
      const before = row.rule.kind === "unique" ? firsts() : [];
      for (const { key } of gone) statements.remove.run(row.number, key, id);
      for (const { key, hlc, origin, sequence } of come)
        statements.add.run(row.number, key, hlc, origin, sequence, id);
      const after = row.rule.kind === "unique" ? firsts() : [];
      return before
        .flatMap((was, at) => (was === after[at] ? [] : [was, after[at]]))
        .filter((other) => other !== undefined && other !== id) as string[];
    },
    postpone({ number }, key, after) {
      if (after === undefined) statements.settle.run(number, key);
      else statements.postpone.run(number, key, after);
    },
    pending() {
      const row = rules.isEmpty ? undefined : statements.pending.get();
      const rule = row && rules.get(Number(row["rule"]));
      return rule && { rule, key: String(row["key"]), after: String(row["after"]) };
    },
    unfinished: () => rules.unfinished(),
    documents: ({ collection, builtTo }, limit) =>
      idsOf(statements.documents.all(builtTo, collection, limit)),
    built: (row, upto) => setState(row, upto === undefined ? "whole" : "building", upto ?? ""),
    removeSome({ number }, limit) {
      const found = statements.some.all(number, limit);
      for (const { key, id } of found) statements.remove.run(number, String(key), String(id));
      if (found.length === 0) {
        db.prepare("DELETE FROM claim_pending WHERE rule = ?").run(number);
        statements.deleteRule.run(number);
        rules.remove(number);
        references.remove(number);
      }
      return idsOf(found);
    },
    clear() {
      db.exec(`DELETE FROM claim; DELETE FROM claim_pending;
        UPDATE rule SET state = 'whole', built_to = '' WHERE state = 'building'`);
      load();
    },
    forget: load,
  };
  return claims;
}
