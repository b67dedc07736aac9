/**
 * Small files that must survive a power cut: written beside, fsynced, renamed, directory fsynced.
 * A reader sees the old content or the new, never a mixture. Records carry a checksum, so that a
 * torn or rotten file is noticed on read instead of believed.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  fsyncSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";

/**
 * Creates missing folders, mode 0700, each durable in its parent before the next is made. One that
 * exists may have been made by a process that was killed before its fsync, so it is synced once more;
 * by the order of creation everything above it is durable.
 */
export function ensureDirectory(path: string): void {
  const missing: string[] = [];
  let deepest = resolve(path);
  while (!existsSync(deepest) && deepest !== dirname(deepest)) {
    missing.unshift(deepest);
    deepest = dirname(deepest);
  }
  syncEntryOf(deepest);
  for (const folder of missing) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    syncDirectory(dirname(folder));
  }
  // A file in its place is an error here, not at the first use.
  mkdirSync(path, { recursive: true });
}

/** Where the folder above may not even be read, this process made nothing in it. */
function syncEntryOf(folder: string): void {
  try {
    syncDirectory(dirname(folder));
  } catch (error) {
    if (systemCode(error) !== "EACCES") throw error;
  }
}

/** Makes renames, creations and removals inside `path` durable. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Replaces `path` atomically and durably. Throws `disk-full` or `file-unwritable`. */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: { mode?: number } = {},
): void {
  const temporary = `${path}.new`;
  try {
    const fd = openSync(temporary, "w", options.mode ?? 0o600);
    try {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      for (let offset = 0; offset < bytes.length;) offset += writeSync(fd, bytes, offset);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (cause) {
    removeLeftover(temporary);
    throw unwritable(path, cause);
  }
}

/** A leftover does no harm, so what stands in its way must not hide why it was left. */
function removeLeftover(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The next write to the same place replaces it.
  }
}

function unwritable(path: string, cause: unknown): SkerryError {
  return new SkerryError(
    systemCode(cause) === "ENOSPC" || systemCode(cause) === "EDQUOT"
      ? {
          code: "disk-full",
          message: `no space left to write ${path}`,
          hint: "free space on this disk; nothing was changed",
          retryable: true,
          cause,
        }
      : { code: "file-unwritable", message: `cannot write ${path}`, cause },
  );
}

/** Content of `path`, or undefined when it does not exist. Other failures throw `file-unreadable`. */
export function readFileIfExists(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw new SkerryError({ code: "file-unreadable", message: `cannot read ${path}`, cause });
  }
}

/** Writes `value` as JSON behind a SHA-256, for `readRecord`. */
export function writeRecord(path: string, value: unknown): void {
  const body = JSON.stringify(value);
  writeFileAtomic(path, `${checksum(body)}\n${body}\n`);
}

/** `writeRecord` for a thread that must not wait for the disk, by `writeFileAtomicAsync`. */
export async function writeRecordAsync(
  path: string,
  value: unknown,
  options: { durable?: boolean } = {},
): Promise<void> {
  const body = JSON.stringify(value);
  await writeFileAtomicAsync(path, `${checksum(body)}\n${body}\n`, options);
}

/**
 * `writeFileAtomic` for a thread that must not wait for the disk; mode 0600. One writer a path at a
 * time. Not `durable`: for what is made anew after a power cut; no reader sees a mixture either.
 */
export async function writeFileAtomicAsync(
  path: string,
  content: string,
  { durable = true }: { durable?: boolean } = {},
): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await using file = await open(temporary, "w", 0o600);
    await file.writeFile(content);
    if (durable) await file.sync();
    await rename(temporary, path);
    if (!durable) return;
    await using directory = await open(dirname(path), "r");
    await directory.sync();
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw unwritable(path, cause);
  }
}

/**
 * The value that `writeRecord` wrote; undefined when the file does not exist. Throws `file-torn`
 * when the content does not match its checksum.
 */
export function readRecord(path: string): unknown {
  const content = readFileIfExists(path)?.toString();
  if (content === undefined) return undefined;
  const end = content.indexOf("\n");
  const body = content.slice(end + 1, -1);
  if (end !== 64 || checksum(body) !== content.slice(0, end)) {
    throw new SkerryError({
      code: "file-torn",
      message: `${path} is damaged: its checksum does not match`,
      hint: "move the file away and start again; what it held is fetched anew where possible",
    });
  }
  return JSON.parse(body);
}

const checksum = (text: string) => createHash("sha256").update(text).digest("hex");
