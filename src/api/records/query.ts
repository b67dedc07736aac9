/** What a program asks of a collection or a stream, in the words of the gateway and its client. */
import type { Json, JsonObject } from "../../lib/json.ts";

/**
 * Text, `status = "open" and total > 100`, or the same as an object. Fields are `id`, `total`,
 * `address.city` or a JSON pointer, `/address/city`.
 */
export type QueryWhere = string | QueryCondition;
export type QueryCondition =
  | {
      readonly op: "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains";
      readonly path: string;
      readonly value: Json;
    }
  | { readonly op: "prefix"; readonly path: string; readonly value: string }
  | { readonly op: "in"; readonly path: string; readonly values: readonly Json[] }
  | { readonly op: "exists"; readonly path: string }
  | { readonly op: "and" | "or"; readonly of: readonly QueryCondition[] }
  | { readonly op: "not"; readonly of: QueryCondition };

export type RowsRequest = {
  readonly where?: QueryWhere;
  /** `["-total", "name"]`: the greatest total first, then by name. Default: by id. */
  readonly sort?: readonly string[];
  /** Only these, where they stand. Default: all. */
  readonly fields?: readonly string[];
  /** How long each page may take, 1 to 30000. Default 2000. */
  readonly timeoutMs?: number;
};
export type QueryRow = {
  /** At a hub, of what cells sent. */
  readonly cell?: string;
  readonly id: string;
  /** Of a collection with `consistency: strong`: what `ifVersion` is compared with. */
  readonly version?: string;
  readonly body: JsonObject;
};

/**
 * One difference of a live query. Places are those in the list as all differences before left it; a
 * row that moves is taken out at `from` first, and put in again at `at`.
 */
export type QueryDifference = { readonly id: string; readonly at: number } & (
  | { readonly change: "removed" }
  | { readonly change: "added"; readonly row: QueryRow }
  | { readonly change: "changed"; readonly from?: number; readonly row: QueryRow }
);

export type GroupsRequest = {
  readonly where?: QueryWhere;
  /** `count`, `count(total)`, `sum(total)`, `avg(total)`, `min(total)`, `max(total)`. */
  readonly aggregate?: readonly string[];
  readonly by?: readonly string[];
  readonly timeoutMs?: number;
};
/** Both by the words of the request. */
export type QueryGroup = { readonly group: JsonObject; readonly values: JsonObject };

export type QueryExplained = {
  readonly plan: string;
  readonly indexes: readonly string[];
  readonly sqlite: readonly string[];
  readonly looked: number;
};
export type QueryAnswer<Row> = {
  readonly rows: readonly Row[];
  /** Where the next page begins; absent at the end. */
  readonly cursor?: string;
  /** Of a collection with `consistency: strong`: the ledger's revision that all pages are of. */
  readonly revision?: number;
  readonly consistency?: "strong";
  readonly explain?: QueryExplained;
};

export type EntriesRequest = {
  readonly where?: QueryWhere;
  /** RFC 3339, or milliseconds since 1970; `to` is not in it. */
  readonly from?: string | number;
  readonly to?: string | number;
  readonly fields?: readonly string[];
  readonly timeoutMs?: number;
};
export type WindowsRequest = Omit<EntriesRequest, "fields"> & {
  /** `10m`; a group's `window` is when it begins. */
  readonly window?: string;
  /** Instead: at most this many windows between `from` and `to`. */
  readonly points?: number;
  /** As of documents, and `first(x)`, `last(x)` by time. */
  readonly aggregate?: readonly string[];
  readonly by?: readonly string[];
};
