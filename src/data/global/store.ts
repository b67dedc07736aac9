/**
 * The contract of the hub's store: what cells let out, by cell and stream, each entry once by its key
 * within its cell. Positions are counted by (cell, origin), so that a batch sent twice changes nothing.
 */
import type { StoredEntry } from "../../api/index.ts";
import type { ApplyAnswer, ColumnBatch, Vector } from "../streams/store.ts";

export type GlobalQuery = {
  /** Absent: all streams. */
  readonly stream?: string;
  /** Absent: all cells. */
  readonly cell?: string;
  readonly after?: string;
  /** Instead of `after`: begin with this many of the newest, 1 to 10000. */
  readonly newest?: number;
  /** Inclusive. */
  readonly fromMs?: number;
  /** Exclusive. */
  readonly toMs?: number;
  /** 1 to 10000. Default 1000. */
  readonly limit?: number;
};

export type GlobalEntry = StoredEntry & { readonly cell: string; readonly cursor: string };

export type GlobalPage = {
  readonly entries: readonly GlobalEntry[];
  readonly cursor: string;
  readonly more: boolean;
};

export type GlobalStreamStatus = {
  readonly cell: string;
  readonly name: string;
  readonly entries: number;
  readonly bytes: number;
};

export type GlobalGrown = { readonly cell: string; readonly streams: readonly string[] };

export interface GlobalStore {
  /** What a cell pushed; committed when this resolves. Throws `invalid-batch`, `egress-violated`, `disk-full`. */
  ingest(cell: string, bytes: Uint8Array): Promise<ApplyAnswer>;
  vector(cell: string): Promise<Vector>;
  /** Throws `stream-unknown`, `invalid-cursor`, `invalid-limit`. */
  read(query: GlobalQuery): Promise<GlobalPage>;
  streams(cell?: string): Promise<readonly GlobalStreamStatus[]>;
  retain(): Promise<{ readonly removed: number }>;
  on(event: "grown", listener: (grown: readonly GlobalGrown[]) => void): () => void;
  close(): Promise<void>;
}

/** The gate's second look, bound to privacy by the hub. Throws when a batch breaks its policy. */
export type Recheck = { check(batch: ColumnBatch): void };
