/** What a store answers about entries: to an append, and to whoever reads. */
import type { StoredEntry } from "../../api/index.ts";

/** The highest contiguous log position by origin. Positions start at 1; 0 or absent: none. */
export type Vector = Readonly<Record<string, number>>;

export type AppendAnswer =
  | {
      readonly state: "stored";
      /** Committed and fsynced now. */
      readonly stored: number;
      /** Already there: the same key was stored before. */
      readonly duplicates: number;
      /** As `AppendOutcome`: of the duplicates, what is not here any more. */
      readonly removed?: readonly number[];
      /** A store whose vector covers this holds every entry of the request that is kept. */
      readonly cover: Vector;
    }
  | {
      readonly state: "refused";
      readonly code: string;
      readonly message: string;
      readonly hint?: string;
      readonly retryable: boolean;
    };

export type Refused = AppendAnswer & { readonly state: "refused" };

export type ReadEntry = StoredEntry & { readonly cursor: string };
