/** What a program asks of a document, in the words of the gateway, its client and the stores. */
import type { Json } from "../../lib/json.ts";

/** One thing to do to a field of a document, without reading it first. Paths are JSON pointers: `/address/city`. */
export type FieldChange =
  | { readonly change: "set"; readonly path: string; readonly value: Json }
  | { readonly change: "remove"; readonly path: string }
  /** A field that the Collection declares as a counter. */
  | { readonly change: "increment"; readonly path: string; readonly by: number }
  /** A set. */
  | { readonly change: "add" | "discard"; readonly path: string; readonly value: Json }
  /** A list; without `index` at its end. */
  | {
      readonly change: "insert";
      readonly path: string;
      readonly index?: number;
      readonly values: readonly Json[];
    }
  | {
      readonly change: "delete";
      readonly path: string;
      readonly index: number;
      readonly count?: number;
    };
