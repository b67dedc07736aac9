/**
 * Documents as an audit sees them: each by its whole state, in the names of origins, so that stores that
 * have seen the same operations have the same text (M1). At a hub a collection of a cell is a copy under
 * another name, with origins that begin with its number (`global/sqlite/`), in a file or in PostgreSQL.
 * Read-only.
 */
import type { EgressPolicy, PackedState } from "../../api/records/index.ts";
import type { SqlDatabase } from "../../runtime/sqlite/index.ts";
import { packState, unpackState } from "../documents/encode-state.ts";
import type { JsonObject } from "../documents/json.ts";
import { idTop } from "../queries/plan.ts";
import type { Vector } from "../streams/store.ts";
import type { AuditedDocument, KeyRange } from "./sides.ts";

/** What a policy lets out of a state; the gate's. */
export type Narrow = (state: PackedState, policy: EgressPolicy) => PackedState;

export type DocumentsFound =
  | { readonly state: "absent"; readonly reason: string }
  | {
      readonly state: "found";
      /** Undefined: declared perhaps, and without a trace of a document. */
      readonly number: number | undefined;
      /** What names of origins begin with in this file. */
      readonly prefix: string;
      readonly documents: number;
    };

export type ReadDocument = { readonly id: string; readonly content: string };

export interface DocumentsReads {
  names(scope: string | undefined): readonly string[];
  find(name: string, scope: string | undefined): DocumentsFound;
  applied(prefix: string): Vector;
  /** In the order of ids. */
  walk(at: WalkAt, policy: EgressPolicy | undefined): Generator<ReadDocument>;
  document(
    at: Omit<WalkAt, "range" | "after"> & { id: string },
    policy: EgressPolicy | undefined,
  ): AuditedDocument;
}

export type WalkAt = {
  readonly number: number;
  readonly prefix: string;
  readonly range: KeyRange;
  readonly after?: string | undefined;
};

const pieceRows = 500;

/** `isHub`: a hub's tables are all there; of a file it is looked up. */
export function createDocumentsReads(
  db: SqlDatabase,
  narrow: Narrow | undefined,
  { isHub = false }: { isHub?: boolean } = {},
): DocumentsReads {
  const hasTable = (name: string): boolean =>
    isHub ||
    db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(name) !==
      undefined;
  const findCollection = db.prepare("SELECT id, documents FROM collection WHERE name = ?");
  const allCollections = db.prepare("SELECT name FROM collection ORDER BY name");
  const origins = db.prepare(
    "SELECT id, name, applied FROM origin WHERE name >= ? AND name < ? ORDER BY name",
  );
  const rowsFrom = db.prepare(
    `SELECT id, body, state FROM document
     WHERE collection = ? AND id >= ? AND id < ? AND id <> ? ORDER BY id LIMIT ${pieceRows}`,
  );
  const row = db.prepare("SELECT id, body, state FROM document WHERE collection = ? AND id = ?");

  const originsOf = (prefix: string) => origins.all(prefix, `${prefix}\u{10FFFF}`);
  const namesOf = (prefix: string): ReadonlyMap<number, string> =>
    new Map(
      originsOf(prefix).map(({ id, name }) => [Number(id), String(name).slice(prefix.length)]),
    );

  /** Numbers of origins in the order in which they come up: equal states are equal texts. */
  const canonical = (
    { body, state }: Record<string, unknown>,
    names: ReadonlyMap<number, string>,
    policy: EgressPolicy | undefined,
  ): Required<Omit<AuditedDocument, "id">> => {
    const found = typeof body === "string" ? (JSON.parse(body) as JsonObject) : undefined;
    const unpacked = unpackState(JSON.parse(String(state)) as PackedState, found, {
      originOf: (number) => names.get(number) ?? "",
    });
    const whole = numbered((numberOf) => packState(unpacked, undefined, { numberOf }));
    if (!policy || !narrow) return whole;
    const kept = unpackState(narrow(whole.state, policy), undefined, {
      originOf: (number) => whole.origins[number] ?? "",
    });
    return numbered((numberOf) => packState(kept, undefined, { numberOf }));
  };

  /** The hub's own copy for a cell, or the cell's copy at the hub. */
  const atHub = (name: string, scope: string): DocumentsFound => {
    const found = (collection: string, prefix: string): DocumentsFound => {
      const held = findCollection.get(collection);
      return {
        state: "found",
        number: held && Number(held["id"]),
        prefix,
        documents: Number(held?.["documents"] ?? 0),
      };
    };
    if (hasTable("published_feed")) {
      const given = db
        .prepare("SELECT id FROM published_feed WHERE collection = ? AND cell = ?")
        .get(name, scope);
      if (given) return found(`p${given["id"]}`, `p${given["id"]} `);
    }
    const feeds = hasTable("feed")
      ? db
          .prepare(
            "SELECT id, state FROM feed WHERE cell = ? AND collection = ? AND state <> 'dropped'",
          )
          .all(scope, name)
      : [];
    const live = feeds.find(({ state }) => state === "live");
    if (!live) return { state: "absent", reason: "the hub has no copy of it yet" };
    if (feeds.length > 1)
      return { state: "absent", reason: "its copy at the hub is being made anew" };
    return found(String(live["id"]), `${live["id"]} `);
  };

  return {
    names(scope) {
      if (scope === undefined) return allCollections.all().map(({ name }) => String(name));
      if (!hasTable("feed")) return [];
      return db
        .prepare("SELECT DISTINCT collection FROM feed WHERE cell = ? AND state = 'live'")
        .all(scope)
        .map(({ collection }) => String(collection));
    },
    find(name, scope) {
      if (scope !== undefined) return atHub(name, scope);
      const held = findCollection.get(name);
      const number = held && Number(held["id"]);
      return { state: "found", number, prefix: "", documents: Number(held?.["documents"] ?? 0) };
    },
    applied: (prefix) =>
      Object.fromEntries(
        originsOf(prefix)
          .filter(({ applied }) => Number(applied) > 0)
          .map(({ name, applied }) => [String(name).slice(prefix.length), Number(applied)]),
      ),
    *walk({ number, prefix, range: { from, to }, after }, policy) {
      const names = namesOf(prefix);
      for (let last = after, isMore = true; isMore;) {
        const rows = rowsFrom.all(number, last ?? from, to ?? idTop, last ?? idTop);
        for (const found of rows) {
          const { state, origins: used } = canonical(found, names, policy);
          last = String(found["id"]);
          yield { id: last, content: JSON.stringify([used, state]) };
        }
        isMore = rows.length === pieceRows;
      }
    },
    document({ number, prefix, id }, policy) {
      const found = row.get(number, id);
      return found ? { id, ...canonical(found, namesOf(prefix), policy) } : { id, origins: [] };
    },
  };
}

function numbered(pack: (numberOf: (origin: string) => number) => PackedState) {
  const numbers = new Map<string, number>();
  const state = pack((origin) => {
    const number = numbers.get(origin) ?? numbers.size;
    numbers.set(origin, number);
    return number;
  });
  return { state, origins: [...numbers.keys()] };
}
