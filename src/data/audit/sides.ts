/**
 * What an audit asks of a store, its own and others' alike: fingerprints of ranges of what a scan saw,
 * and what stands in a range now. One implementation reads a node's or hub's files in a thread of its
 * own (`engine.ts`), one asks over a link (`link.ts`). Everything is JSON.
 */
import type { EgressPolicy, PackedState } from "../../api/records/index.ts";
import type { Vector } from "../streams/store.ts";

export type AuditKind = "collection" | "stream";
export type AuditName = { readonly kind: AuditKind; readonly name: string };

export type AuditWish = AuditName & {
  /** At a hub: of this cell. */
  readonly scope?: string;
  /** As the hub has it: what this policy lets out. Only of one's own store. */
  readonly policy?: EgressPolicy;
};

/** What of a log a store holds: nothing before `first`, nothing behind `top`. */
export type HeldLog = { readonly origin: string; readonly first: number; readonly top: number };

export type AuditLook =
  | { readonly state: "scanning"; readonly seen: number; readonly of: number }
  /** There is nothing to compare here, and why. */
  | { readonly state: "absent"; readonly reason: string }
  | {
      readonly state: "scanned";
      /** Documents, deleted ones included, or entries. */
      readonly items: number;
      /** Of documents, what they were made of when the scan began. */
      readonly vector: Vector;
      /** Of entries. */
      readonly logs: readonly HeldLog[];
    };

/** Keys from `from` on and before `to`; without it to the end. */
export type KeyRange = { readonly from: string; readonly to?: string | undefined };
export type Part = KeyRange & {
  readonly keys: number;
  /** Equal where the ranges are: 128 bits as text. */
  readonly print: string;
};

export type DocumentPrints = {
  readonly prints: readonly (readonly [id: string, print: string])[];
  /** There are more behind the last one. */
  readonly more: boolean;
};

export type AuditedDocument = {
  readonly id: string;
  /** Absent: there is not even a trace of one. `origins`: of the numbers in the state. */
  readonly state?: PackedState;
  readonly origins: readonly string[];
};
/** `applied`: what the documents were made of when they were read. */
export type AuditedDocuments = {
  readonly applied: Vector;
  readonly documents: readonly AuditedDocument[];
};

export type EntryKeyText = readonly [producer: string, epoch: number, sequence: number];
export type AuditedEntry = {
  readonly position: number;
  readonly print: string;
  readonly key?: EntryKeyText;
};
export type AuditedEntries = Omit<HeldLog, "origin"> & {
  readonly entries: readonly AuditedEntry[];
  /** What the disk lost of it, in words. */
  readonly damaged?: string;
};

export interface AuditSide {
  names(request: { scope?: string }): Promise<Readonly<Record<AuditKind, readonly string[]>>>;
  /** Begins a scan. Throws `store-busy`. */
  open(wish: AuditWish): Promise<{ readonly scan: string }>;
  /** Throws `audit-forgotten` for a scan that nobody asked for in a while, as all of these do. */
  look(request: { scan: string }): Promise<AuditLook>;
  prints(request: { scan: string; ranges: readonly KeyRange[] }): Promise<readonly Part[]>;
  /** Each in so many parts, as even as they can be. */
  split(request: {
    scan: string;
    ranges: readonly KeyRange[];
    parts: number;
  }): Promise<readonly (readonly Part[])[]>;
  /** What the scan saw, at most 64. */
  keys(request: { scan: string; range: KeyRange }): Promise<readonly string[]>;
  /** As they are now, behind `after`. */
  documentPrints(request: {
    scan: string;
    range: KeyRange;
    after?: string;
  }): Promise<DocumentPrints>;
  documents(request: { scan: string; ids: readonly string[] }): Promise<AuditedDocuments>;
  /** As they are now, at these positions. */
  entries(request: {
    scan: string;
    origin: string;
    from: number;
    to: number;
  }): Promise<AuditedEntries>;
  /** Of keys, those that retention removed here. */
  removed(request: { scan: string; keys: readonly EntryKeyText[] }): Promise<readonly boolean[]>;
  forget(request: { scan: string }): Promise<void>;
}

/** Positions whose fingerprints are summed up: a log is compared in blocks of these. */
export const blockPositions = 256;

/** A block's key sorts by origin, then by position. */
export const blockKey = (origin: string, block: number): string =>
  `${origin} ${String(block).padStart(14, "0")}`;

export const blockOf = (position: number): number => Math.floor((position - 1) / blockPositions);

/** The origin and the first position of a block. */
export function blockAt(key: string): { readonly origin: string; readonly from: number } {
  const space = key.lastIndexOf(" ");
  return {
    origin: key.slice(0, space),
    from: Number(key.slice(space + 1)) * blockPositions + 1,
  };
}
