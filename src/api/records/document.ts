/** What a program asks of a document, in the words of the gateway, its client and the stores. */
import type { Json } from "../../lib/json.ts";

/**
 * Parts from the beginning on, in the manner of Quill (quilljs.com/docs/delta): counts are of UTF-16 code
 * units, as in JavaScript's strings. An attribute of null takes it away; what is left out stays.
 */
export type TextDelta = readonly (
  | { readonly insert: string; readonly attributes?: TextAttributes }
  | { readonly retain: number; readonly attributes?: TextAttributes }
  | { readonly delete: number }
)[];
export type TextAttributes = Readonly<Record<string, string | number | boolean | null>>;

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
    }
  /** A text; positions are in it as this node has it now. */
  | { readonly change: "edit"; readonly path: string; readonly delta: TextDelta };
