/** What the engine keeps, and nothing of how. Everything between two commits is one transaction. */

export type OriginRow = {
  readonly id: number;
  readonly name: string;
  /** Every operation up to here is in the log. */
  stored: number;
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
  /** Forgets the log behind a position. */
  dropOperations(origin: OriginRow, after: number): void;
  document(collection: string, id: string): DocumentRow | undefined;
  saveDocument(row: DocumentRow): void;
  lastChange(): number;
  hasKey(key: string): boolean;
  addKey(key: string): void;
  /** Forgets documents and what was applied; the log stays. */
  clearDocuments(): void;
  /** The log that this store writes, since it last took a new name. */
  own(): string | undefined;
  setOwn(origin: string): void;
  /** Which changes were known to the version that left some out; undefined: none were left out. */
  leftOut(): string | undefined;
  setLeftOut(known: string): void;
}
