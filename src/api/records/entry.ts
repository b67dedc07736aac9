/**
 * Entries of streams and how far a write must reach. An entry is one JSON object, carried as its
 * UTF-8 bytes so that crossing a thread or a link costs no parsing.
 */

/**
 * What makes an entry the same entry wherever and however often it is sent. Without it an entry is
 * stored at least once and counted so. `sequence` starts at 1 and grows within one `epoch` of one
 * `producer`; a producer that lost its count starts a higher epoch.
 */
export type EntryKey = {
  readonly producer: string;
  readonly epoch: number;
  readonly sequence: number;
};

export type EntryInput = {
  readonly stream: string;
  /** When it was measured, milliseconds since 1970; the node's time when absent. */
  readonly atMs?: number;
  readonly key?: EntryKey;
  /** A JSON object in UTF-8. */
  readonly body: Uint8Array;
};

/** What every way in and every store takes, so that what one lets pass the next does not refuse. */
export const entryLimits = {
  bodyBytesMax: 256 * 1024,
  producerBytesMax: 128,
  /** 2100-01-01; times are not held against the node's clock, which may be the one that is wrong. */
  atMsMax: Date.UTC(2100, 0, 1),
} as const;

/** Where an entry stands: the store that first accepted it and its place in that store's log, from 1. */
export type EntryPosition = { readonly origin: string; readonly sequence: number };

export type StoredEntry = EntryInput & { readonly atMs: number; readonly position: EntryPosition };

/**
 * `memory`: no promise. `local`: fsynced here. `peer(k)`: fsynced here and on k other nodes.
 * `hub`: fsynced at the hub as well.
 */
export type DurabilityLevel =
  | { readonly level: "memory" }
  | { readonly level: "local" }
  | { readonly level: "peer"; readonly peers: number }
  | { readonly level: "hub" };

type Appended = {
  readonly reached: DurabilityLevel;
  readonly stored: number;
  /** Their keys came before. */
  readonly duplicates: number;
  /**
   * Of the duplicates, by their place in the request: those that retention removed since. They will be
   * nowhere again, so nobody waits for them, and `reached` is `local` at most. Absent: none.
   */
  readonly removed?: readonly number[];
};

/** The answer to an append. Levels are never rounded up: `reached` is what was seen to hold. */
export type AppendOutcome =
  /** Of all that is kept the level asked for holds. */
  | ({ readonly state: "reached" } & Appended)
  /** Time ran out before the level asked for; what is at `reached` stays and goes on spreading. */
  | ({ readonly state: "short" } & Appended)
  /** Nothing was stored. `field` names what was wrong where it was the input. */
  | {
      readonly state: "refused";
      readonly code: string;
      readonly message: string;
      readonly hint?: string;
      readonly retryable: boolean;
    };

/** `"local"`, `"peer(2)"`, … or undefined when it is none. */
export function parseDurabilityLevel(text: string): DurabilityLevel | undefined {
  if (text === "memory" || text === "local" || text === "hub") return { level: text };
  const match = /^peer\(([1-9]\d?)\)$/.exec(text);
  return match ? { level: "peer", peers: Number(match[1]) } : undefined;
}

export function formatDurabilityLevel(level: DurabilityLevel): string {
  return level.level === "peer" ? `peer(${level.peers})` : level.level;
}
