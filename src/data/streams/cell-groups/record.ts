/** What the ledger holds of a group of the cell. */
import type { Vector } from "../answers.ts";

export type GroupRecord = {
  /** By origin: every entry of the stream up to this position is acknowledged, or was passed over. */
  readonly vector: Vector;
  /** The delivery that was acknowledged last, `TOKEN.NUMBER`. */
  readonly last?: string;
  /** By node: a cursor of its store up to which all of the stream is covered by the vector. */
  readonly places: Readonly<Record<string, string>>;
};

export const recordKey = ({ stream, group }: { stream: string; group: string }) =>
  `${stream}/${group}`;
/** Neither name holds a tilde. */
export const claimName = ({ stream, group }: { stream: string; group: string }) =>
  `${stream}~${group}`;
/** What the ledger takes as the name of a lock. */
export const claimCharactersMax = 128;

export const encodeRecord = (record: GroupRecord): string => JSON.stringify(record);
export const decodeRecord = (text: string): GroupRecord => JSON.parse(text) as GroupRecord;

/** The greater position of each origin. */
export function joined(vector: Vector, entries: readonly EntryAt[]): Vector {
  const greatest: Record<string, number> = { ...vector };
  for (const { position } of entries)
    greatest[position.origin] = Math.max(greatest[position.origin] ?? 0, position.sequence);
  return greatest;
}

export const isCovered = (vector: Vector, { position }: EntryAt): boolean =>
  position.sequence <= (vector[position.origin] ?? 0);

type EntryAt = { readonly position: { readonly origin: string; readonly sequence: number } };
