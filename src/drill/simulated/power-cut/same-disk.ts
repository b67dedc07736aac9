/** A folder after a cut stands for the disk that it is a copy of. */
import { statSync } from "node:fs";
import { readRecord, writeRecord } from "../../../runtime/files/index.ts";

/**
 * The folder is a copy, and the store knows copies by the inode that it noted; after a power cut it is
 * the same disk. The note is moved along, so that the store must notice by itself what is missing.
 */
export function claimSameDisk(path: string): void {
  let marker: unknown;
  try {
    marker = readRecord(`${path}.origin`);
  } catch {
    // Torn: it is for the store to say what that means.
    return;
  }
  if (typeof marker !== "object" || marker === null) return;
  const { dev, ino } = statSync(path, { bigint: true });
  writeRecord(`${path}.origin`, { ...marker, inode: `${dev}:${ino}` });
}
