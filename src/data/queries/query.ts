/** What can be asked of documents and entries, checked and in the words of this room. */
import type { Path } from "../../api/records/index.ts";
import type { Json } from "../documents/json.ts";

export type Comparison = "=" | "!=" | "<" | "<=" | ">" | ">=";

/** True or false of every document, whatever it holds: comparing what is missing is false. */
export type Condition =
  | { readonly op: Comparison; readonly path: Path; readonly value: Json }
  | { readonly op: "in"; readonly path: Path; readonly values: readonly Json[] }
  | { readonly op: "prefix"; readonly path: Path; readonly value: string }
  /** There is an array at the path, and it has an element equal to the value. */
  | { readonly op: "contains"; readonly path: Path; readonly value: Json }
  /** Also when it is null. */
  | { readonly op: "exists"; readonly path: Path }
  | { readonly op: "and" | "or"; readonly of: readonly Condition[] }
  | { readonly op: "not"; readonly of: Condition };

export type SortKey = { readonly path: Path; readonly descending: boolean };

export type Measure = "count" | "sum" | "min" | "max" | "avg" | "first" | "last";
export type Aggregate = {
  /** As it was asked for: `sum(/total)`. */
  readonly label: string;
  readonly measure: Measure;
  /** Absent: of `count`, documents. */
  readonly path?: Path;
};

/** How a path was written, for the answer to name it so. */
export type Named = { readonly label: string; readonly path: Path };

/** What an answer's rows are made of. */
export type Shape =
  | {
      readonly rows: "documents";
      readonly sort: readonly SortKey[];
      /** Absent: whole documents. */
      readonly fields?: readonly Path[];
    }
  | {
      readonly rows: "groups";
      readonly by: readonly Named[];
      readonly aggregates: readonly Aggregate[];
    };

export type Query = {
  readonly where?: Condition;
  readonly shape: Shape;
  readonly limit: number;
  /** Of the page before. */
  readonly cursor?: string;
  /** How long it may look. */
  readonly timeoutMs: number;
  readonly explain: boolean;
};

/** `isDeclared`: a collection without content is empty, not unknown. */
export type DocumentsRequest = {
  readonly collection: string;
  readonly isDeclared: boolean;
  readonly query: Query;
};

/** Of a live query: groups have no rows that could be told apart. */
export type DocumentsShape = Shape & { readonly rows: "documents" };

/** An index as a plan knows it. */
export type Index = { readonly number: number; readonly path: Path };

export type Explained = {
  /** In words. */
  readonly plan: string;
  /** Indexes used, as pointers. */
  readonly indexes: readonly string[];
  /** What SQLite says of the statement (`EXPLAIN QUERY PLAN`). */
  readonly sqlite: readonly string[];
  /** Documents that were looked at. */
  readonly looked: number;
};

export type QueryPage = {
  /** Each row as JSON text. */
  readonly rows: readonly string[];
  /** Where the next page begins; absent at the end. */
  readonly cursor?: string;
  readonly explain?: Explained;
};
