/** How entries become a file: in pieces, each whole, so that an export goes on behind the last one. */
import type { Json } from "../../lib/json.ts";

export type Line = Readonly<Record<string, Json>> & {
  readonly body: Readonly<Record<string, Json>>;
};

export type Piece = {
  readonly bytes: Uint8Array;
  /** A line that a later run needs of it, with those of all pieces before. */
  readonly note?: string;
};

export interface Encoder {
  /** Entries that one piece is made of; a last one, and one of large entries, has fewer. */
  readonly entriesPerPiece: number;
  /** `at`: where the piece goes. */
  encode(entries: readonly Line[], at: number): Piece;
  /** What a later run needs beside notes; it does not grow with the pieces. */
  readonly state: Json;
  /** What stands behind all pieces. */
  end(at: number): Uint8Array;
}

/** Of every entry, beside its body; the cell on a hub. */
export const namedOf = (query: Readonly<Record<string, string>>): readonly string[] => [
  ...(query["cell"] === undefined ? [] : ["cell"]),
  "at",
  "producer",
  "epoch",
  "sequence",
  "origin",
  "position",
];

/** Fields are columns by their names; one that is called as an entry's own is `body.NAME`. */
export function labelsOf(named: readonly string[], fields: readonly string[]): readonly string[] {
  const taken = new Set([...named, "other"]);
  return fields.map((field) => (taken.has(field) ? `body.${field}` : field));
}
