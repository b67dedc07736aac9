/**
 * Room on a disk that nobody else takes, for a moment when there is none: a file of no meaning, made
 * shorter piece by piece, so that what makes room can be written. Its bytes are random: of others some
 * file systems would keep nothing.
 */
import { randomBytes } from "node:crypto";
import { appendFileSync, statfsSync, statSync, truncateSync } from "node:fs";
import { dirname } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { isOfRoom } from "./failures.ts";

export type Ballast = {
  /** When it is whole. */
  readonly bytesMax: number;
  /** Given up at a time. */
  readonly pieceBytes: number;
  /** What it lacks. */
  readonly missingBytes: number;
  /** What this process can still write to the disk. */
  readonly freeBytes: number;
  /** Gives up so much, or all that is left; false when nothing is. */
  give(bytes: number): boolean;
  /** Grows by a slice where so much stays free beside it; false when it is whole, or cannot. */
  grow(leavingBytes: number): boolean;
};

/** Twice the longest log that is moved into its file at once, which `full-disk.ts` needs at most. */
const wholeBytes = 32 * 1024 * 1024;
/** Of a small disk it takes a part. */
const diskShare = 8;
const pieces = 4;
/** A slice is written at once, which others wait for: 1 MiB of a whole one. */
const slices = 32;

/** For the disk under `path`. Makes no file: that is done by `grow`, behind everything else. */
export function openBallast(path: string): Ballast {
  const disk = () => statfsSync(dirname(path));
  const { blocks, bsize } = disk();
  const bytesMax = Math.min(wholeBytes, Math.floor((blocks * bsize) / diskShare));
  const pieceBytes = Math.floor(bytesMax / pieces);
  const found = () => statSync(path, { throwIfNoEntry: false });
  const held = () => found()?.size ?? 0;
  const { size = 0, blocks: has = 0 } = found() ?? {};
  // After a power cut it may be less than its size says.
  if (has * 512 < size) truncateSync(path);
  const ballast: Ballast = {
    bytesMax,
    pieceBytes,
    get missingBytes() {
      return Math.max(0, bytesMax - held());
    },
    get freeBytes() {
      const { bavail, bfree, bsize: bytes } = disk();
      // The last blocks of some file systems are root's alone.
      return (process.geteuid?.() === 0 ? bfree : bavail) * bytes;
    },
    give(bytes) {
      const had = held();
      if (had > 0) truncateSync(path, Math.max(0, had - Math.ceil(bytes)));
      return had > 0;
    },
    grow(leavingBytes) {
      const { missingBytes, freeBytes } = ballast;
      const bytes = Math.min(Math.ceil(bytesMax / slices), missingBytes);
      if (bytes === 0 || freeBytes < leavingBytes + bytes) return false;
      try {
        appendFileSync(path, randomBytes(bytes), { mode: 0o600 });
        return true;
      } catch (error) {
        if (!isOfRoom(error)) throw error;
        // A quota, of which the disk's own figures say nothing.
        ballast.give(leavingBytes);
        return false;
      }
    },
  };
  return ballast;
}

/** Runs `work`, which the disk may be too full for: then once more, with a piece of the ballast given up. */
export function withBallast<T>(ballast: Ballast | undefined, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const isFull = error instanceof SkerryError && error.code === "disk-full";
    if (!isFull || !ballast?.give(ballast.pieceBytes)) throw error;
    return work();
  }
}
