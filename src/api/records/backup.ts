/** How the backups of a cell stand; told by its servers. */
export type BackupReport = {
  /** `waiting`: one is about to be made, the first of this cell or since a restore. */
  readonly state: "fresh" | "waiting" | "stale" | "off";
  /** Of the newest verified backup; absent when there is none. */
  readonly ageMs?: number;
  readonly revision?: number;
  /** Nodes that hold it, and `hub`. */
  readonly on: readonly string[];
  /** One sentence. */
  readonly words: string;
};
