/**
 * The contract of a node's store of streams. One implementation lives in the storage thread
 * (`sqlite-store.ts`), one speaks to it from the main thread (`thread.ts`); both pass one suite.
 * Invariants D1 to D9 stand in the README.
 */
import type { EncodedError } from "../../lib/errors.ts";
import type { AppendAnswer, ReadEntry, Refused, Vector } from "./answers.ts";
import type { Observed, Proof } from "./put-back.ts";
import type { ConsumerGroups } from "./groups/groups.ts";
import type { SegmentRepairs } from "./repairs.ts";
import type { EgressPolicy, EntryColumns, EntryInput, StoredEntry } from "../../api/index.ts";

export type { AppendAnswer, ReadEntry, Refused, Vector };

/** What the store must know of a Stream object. */
export type StreamDeclaration = {
  readonly name: string;
  readonly retention: {
    /** Since the entry arrived in this store, while it was open. Absent: for ever. */
    readonly ageMs?: number;
    /** As `StreamStatus.bytes` counts. Absent: the store's default. */
    readonly bytesMax?: number;
    /** On a full disk its oldest entries go, lowest priority first. Absent: appends are refused. */
    readonly whenFull?: "drop";
  };
  /** Absent: nothing of this stream leaves the cell. */
  readonly egress?: EgressPolicy;
  /** Lower goes first when the disk is full, higher to the hub. Default 0. */
  readonly priority?: number;
  /** It has a budget of its own towards the hub, so that it may have to wait for it while others go on. */
  readonly hasBudget?: boolean;
};

/** Whether it goes to the hub apart from the rest of the log. */
export const hasLane = ({ egress, priority, hasBudget }: StreamDeclaration): boolean =>
  egress !== undefined && ((priority ?? 0) !== 0 || hasBudget === true);

export type ReadQuery = {
  readonly stream: string;
  /** A cursor of this store; absent: from the oldest. */
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

export type ReadPage = {
  readonly entries: readonly ReadEntry[];
  /** Where to go on; always set, also when nothing matched. */
  readonly cursor: string;
  /** False: the reader has seen everything there is now. */
  readonly more: boolean;
};

export type StreamStatus = {
  readonly name: string;
  readonly entries: number;
  /** Of these, in segments; the others are rows. */
  readonly sealed: number;
  /** On disk, about: a row as its body and `entryOverheadBytes`, a segment as it is packed. */
  readonly bytes: number;
  /** What the hub has not acknowledged; always 0 for a stream without egress. */
  readonly backlog: { readonly entries: number; readonly bytes: number };
  /** Removed by size before the hub acknowledged them, since the store was made. */
  readonly droppedBeforeHub: number;
  /** Removed by `whenFull: drop`, since the store was made. */
  readonly droppedWhenFull: number;
};

export type StoreStatus = {
  readonly origin: string;
  readonly vector: Vector;
  readonly hubVector: Vector;
  readonly streams: readonly StreamStatus[];
  readonly backlog: {
    readonly entries: number;
    readonly bytes: number;
    /** Age of the oldest entry that waits for the hub, since it arrived here, as retention counts it. */
    readonly oldestAgeMs?: number;
  };
  /** Entries that were found damaged on this disk since the store was opened, and are not back yet. */
  readonly damaged: readonly {
    readonly stream: string;
    readonly entries: number;
    readonly fromMs: number;
    readonly toMs: number;
    /** Names the positions too. */
    readonly message: string;
  }[];
  /** Why it takes nothing more until it is opened again: its disk failed. */
  readonly failure?: Pick<EncodedError, "code" | "message" | "hint">;
  /** Sealed segments that were read in the background since the store was opened, and passes over all. */
  readonly scrubbed: { readonly segments: number; readonly passes: number };
};

/** A piece of one origin's log: every position from `from` to `to` is in `entries` or has no entry. */
export type LogBatch = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly entries: readonly StoredEntry[];
  /** Towards the hub: the policies that the entries were cleared by, by stream. */
  readonly policies?: Readonly<Record<string, EgressPolicy>>;
};

/** The same with its entries side by side. */
export type ColumnBatch = Omit<LogBatch, "entries"> & { readonly columns: EntryColumns };

export type LogQuery = {
  readonly origin: string;
  readonly from: number;
  /** Of bodies; at least one entry is answered. Default 256 KiB. */
  readonly bytesMax?: number;
};

/** A piece of a log as it travels: encoded by `batch/codec.ts`. */
export type EncodedBatch = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly entries: number;
  readonly bytes: Uint8Array;
};

export type ApplyAnswer = {
  /** `gap`: the batch starts after `top + 1`; nothing was changed. */
  readonly state: "applied" | "gap";
  readonly origin: string;
  /** The durable position of this origin here. */
  readonly top: number;
  /** New in the merged view. */
  readonly stored: number;
};

export type Beyond = {
  /** Behind the positions, those of origins that were not named included. */
  readonly entries: number;
  /** Whose logs have an entry of the stream here. */
  readonly origins: readonly string[];
};

/** After each commit that added entries to the merged view. */
export type Grown = {
  readonly streams: readonly string[];
  readonly vector: Vector;
  /** As `StreamStore.lanes`. */
  readonly lanes: Vector;
};

export interface StreamStore {
  readonly node: string;
  readonly groups: ConsumerGroups;
  readonly repairs: SegmentRepairs;
  /** What was sent to the hub today (`replication/hub-budget.ts`), kept beside what is sent. */
  readonly account: { read(): Promise<string | undefined>; write(account: string): Promise<void> };
  /** Replaces the declared streams; entries of streams no longer declared stay, and expire by default limits. */
  setStreams(declarations: readonly StreamDeclaration[]): Promise<void>;
  /** What is wrong with a request without storing it; cheap, without a look into bodies. */
  check(entries: readonly EntryInput[]): Refused | undefined;
  /**
   * Stores all of the request or nothing of it; resolves after the fsync. Full disk, too much
   * waiting and bad input are answers; rejects with `storage-failed`, `closed` or `thread-ended`.
   */
  append(entries: readonly EntryInput[]): Promise<AppendAnswer>;
  /**
   * Queues without waiting for the commit: undefined when it was queued. What goes wrong after that
   * is told to `onLate`, and the entries are gone.
   */
  offer(
    entries: readonly EntryInput[],
    onLate: (failure: Refused | Error) => void,
  ): Refused | undefined;
  /**
   * Throws `stream-unknown`, `invalid-cursor`, `invalid-limit`, and `segment-damaged` when the page
   * begins with entries that the disk lost; the hint has the cursor behind them.
   */
  read(query: ReadQuery): Promise<ReadPage>;
  status(): Promise<StoreStatus>;
  /**
   * The origin's log from a position on; undefined when this store has nothing from there on. Throws
   * `segment-damaged` like `read`: what is lost here is not passed off as a gap.
   */
  log(query: LogQuery): Promise<EncodedBatch | undefined>;
  /** Applies a batch of `log` and commits it with the vector. Throws `invalid-batch`. */
  apply(bytes: Uint8Array): Promise<ApplyAnswer>;
  vector(): Promise<Vector>;
  /** What it has of a stream beyond these positions by origin. Throws `stream-unknown`. */
  beyond(query: { readonly stream: string; readonly vector: Vector }): Promise<Beyond>;
  /** What this store has of streams that go to the hub apart from the rest of their log, by lane (`tables/lanes.ts`). */
  lanes(): Promise<Vector>;
  /**
   * The cell has a hub: from now on, over restarts too, age removes nothing of streams that leave before
   * the hub has it, though it never said anything yet (D8).
   */
  expectHub(): Promise<void>;
  /** The hub's durable vector, as the hub last said; may go back when the hub lost data. */
  markHub(vector: Vector): Promise<void>;
  /**
   * A peer's vector. When it has more of this store's own log than the store does, and shows it, the
   * machine was put back: the store takes a new incarnation, and what it alone has moves there (D7).
   * Answers the origin to use from now on, or what to ask that peer.
   */
  observe(vector: Vector, proof?: Proof): Promise<Observed>;
  /** Removes what is beyond the limits, in small steps between other writes. */
  retain(): Promise<{ readonly removed: number }>;
  on(event: "grown", listener: (grown: Grown) => void): () => void;
  close(): Promise<void>;
}

/** The store itself, in the storage thread. */
export type LocalStreamStore = StreamStore & {
  /**
   * What `log` would encode, for the gate, of an origin without its open lanes, or of a lane: entries here have passed no policy. Ends before an entry
   * of a stream that is not declared (yet); undefined when there is nothing to show the gate now.
   */
  readLeaving(query: LogQuery): ColumnBatch | undefined;
};

/** What a row costs beside its body: `bytesMax` is to be near what the disk sees. */
export const entryOverheadBytes = 80;
