/**
 * Who a store is: its origin `NODE.INCARNATION`. Positions of one origin are never used twice, so every
 * opening takes a new incarnation (D7): a machine's disk that was put back to an image, or started twice,
 * has nothing in itself that tells, and those who would know may be out of reach until it has written.
 * It costs one more origin in the vectors; a reused position would cost entries.
 *
 * The numbers of rows, which cursors go by, stay. A marker file beside the database tells whether they
 * are those of before: both carry a token that changes at every opening, and a clean close notes how
 * far the log went. A copy put back, or a clone, does not match.
 */
import { statSync } from "node:fs";
import { SkerryError } from "../../lib/errors.ts";
import { nameSuffix, type Random } from "../../lib/random.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";

export type Marker = {
  readonly token: string;
  /** Of the database file: a copy has another one. */
  readonly inode: string;
  /** The own log's end at a clean close; absent while open. */
  readonly top?: number;
};

/** As the database has it. */
export type Identity = { readonly token: string; readonly top: number };

/** Why this may not be the store that was closed here last; undefined when it is. */
export function distrust(
  identity: Identity,
  marker: Marker | "torn" | undefined,
  inode: string,
): "no marker" | "torn marker" | "another copy" | "not closed cleanly" | undefined {
  if (marker === undefined) return "no marker";
  if (marker === "torn") return "torn marker";
  if (marker.token !== identity.token || marker.inode !== inode) return "another copy";
  if (marker.top === undefined) return "not closed cleanly";
  return marker.top === identity.top ? undefined : "another copy";
}

export const markerPath = (path: string) => `${path}.origin`;

export function readMarker(path: string): Marker | "torn" | undefined {
  let value: unknown;
  try {
    value = readRecord(markerPath(path));
  } catch (error) {
    if (error instanceof SkerryError && error.code === "file-torn") return "torn";
    throw error;
  }
  if (typeof value !== "object" || value === null) return value === undefined ? undefined : "torn";
  const { token, inode, top } = value as Record<string, unknown>;
  if (typeof token !== "string" || typeof inode !== "string") return "torn";
  return { token, inode, ...(typeof top === "number" ? { top } : {}) };
}

export function writeMarker(path: string, marker: Marker): void {
  writeRecord(markerPath(path), marker);
}

export function inodeOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

/** Starts with the time, so that a node's origins sort by age where its clock is right. */
export function newIncarnation(random: Random, wallMs: number): string {
  return `${Math.max(0, Math.floor(wallMs)).toString(36)}${nameSuffix(random, 6)}`;
}
