/** What the engine keeps, and nothing of how. Everything between two commits is one transaction. */

export type OriginRow = {
  readonly id: number;
  readonly name: string;
  /** Every operation up to here, and behind `floor`, is in the log. */
  stored: number;
  /** Every operation up to here is in the documents, and may be gone from the log. */
  floor: number;
  /** Of its log here. */
  bytes: number;
  /** Every operation up to here is in the documents. */
  applied: number;
  /** Stamp of the last one applied. */
  hlc: number;
  /** What the last one applied knew of other logs, by origin. */
  readonly seen: Map<string, number>;
};

export type DocumentRow = {
  readonly collection: string;
  readonly id: string;
  /** JSON; null when there is no such document now. */
  readonly body: string | null;
  readonly state: string;
  /** Of this store: grows with every change of any document. */
  readonly change: number;
  readonly conflicts: number;
};

/** Of another store's snapshot, in this store's numbers, until all of it is here. */
export type StagedRow = Omit<DocumentRow, "change">;

export type LoggedOperation = { readonly sequence: number; readonly text: string };

export interface DocumentTables {
  origins(): OriginRow[];
  addOrigin(name: string): OriginRow;
  /** Without `seen`. */
  saveOrigin(row: OriginRow): void;
  saveSeen(row: OriginRow, other: string, upto: number): void;
  addOperation(origin: OriginRow, operation: LoggedOperation): void;
  /** From a position on, in order; ends after `bytesMax` of text, with at least one. */
  operations(origin: OriginRow, from: number, bytesMax: number): LoggedOperation[];
  /** Forgets the log behind a position; gives its bytes. */
  dropOperations(origin: OriginRow, after: number): number;
  /** Forgets the log up to a position, at most so many operations. `upto`: how far it came. */
  forgetOperations(
    origin: OriginRow,
    upto: number,
    rowsMax: number,
  ): { readonly upto: number; readonly bytes: number };
  document(collection: string, id: string): DocumentRow | undefined;
  saveDocument(row: DocumentRow): void;
  lastChange(): number;
  /** Of which there are, or were, documents. */
  collections(): string[];
  /** Of a collection, deleted ones too, in the order in which they changed. */
  changes(query: { collection: string; since: number; limit: number }): DocumentRow[];
  stage(row: StagedRow): void;
  /** Some of them; none: there are none left. */
  staged(limit: number): StagedRow[];
  unstage(row: StagedRow): void;
  stageKey(key: string): void;
  /** Keys that were staged are as if they had been added. */
  adoptKeys(): void;
  clearStaged(): void;
  /** How far a snapshot came; undefined: none is under way. */
  stagedAt(): string | undefined;
  setStagedAt(text: string | undefined): void;
  hasKey(key: string): boolean;
  /** As it was added, of those that are this id, a dot and more. */
  keyOf(id: string): string | undefined;
  addKey(key: string): void;
  /** In the order in which they were added; `at` grows. */
  keys(after: number, limit: number): { readonly at: number; readonly key: string }[];
  /** Forgets documents and what was applied; the log stays. */
  clearDocuments(): void;
  /** The log that this store writes, since it last took a new name. */
  own(): string | undefined;
  setOwn(origin: string): void;
  /** Which changes were known to the version that left some out; undefined: none were left out. */
  leftOut(): string | undefined;
  setLeftOut(known: string): void;
  /** Documents to be written again once a snapshot is here; JSON. */
  rescued(): string | undefined;
  setRescued(text: string | undefined): void;
}
