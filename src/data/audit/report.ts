/** What an audit tells: how far it came, and of each comparison how it ended. */
import type { AuditKind } from "./sides.ts";

export type AuditState = "equal" | "different" | "undecided";

export type AuditDifference =
  /** Only that store has a trace of the document, or the fields that differ, as JSON pointers. */
  | { readonly id: string; readonly only: string }
  | { readonly id: string; readonly fields: readonly string[] }
  /** Positions of a log that only that store has, or that both have with other content. */
  | { readonly origin: string; readonly from: number; readonly to: number; readonly only?: string }
  /** What a disk lost, in words. */
  | { readonly on: string; readonly damaged: string };

export type Compared = {
  readonly kind: AuditKind;
  readonly name: string;
  /** The other node, or `hub`. */
  readonly with: string;
  readonly state: AuditState;
  /** Documents, deleted ones included, or entries, of this node's scan. */
  readonly items: number;
  readonly differences: readonly AuditDifference[];
  /** There are more than are named. */
  readonly more: boolean;
  /** Why it could not be decided. */
  readonly reason?: string;
  /** Of documents: what this node's were made of when the scan began, by origin. */
  readonly upto?: Readonly<Record<string, number>>;
  /** Of entries: positions that were compared, by origin. */
  readonly positions?: Readonly<Record<string, readonly [from: number, to: number]>>;
  /** Of entries, positions that only one store has got to, and that one has removed by retention. */
  readonly newer?: number;
  readonly older?: number;
};

export type AuditEvent =
  | {
      readonly event: "progress";
      readonly kind: AuditKind;
      readonly name: string;
      readonly store: string;
      readonly seen: number;
      readonly of: number;
    }
  | ({ readonly event: "compared" } & Compared)
  | { readonly event: "end"; readonly state: AuditState };

/** The worst of them: a difference is one whatever else could not be decided. */
export function worstOf(states: readonly AuditState[]): AuditState {
  if (states.includes("different")) return "different";
  return states.length === 0 || states.includes("undecided") ? "undecided" : "equal";
}

/** Differences that are named of one comparison. */
export const differencesMax = 1000;
