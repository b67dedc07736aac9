/** A consistent copy of the ledger in a file of its own, durable before its name appears. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { ensureDirectory, syncDirectory } from "../../runtime/files/index.ts";
import { openDatabase, sqliteFailure, type Database } from "../../runtime/sqlite/index.ts";
import { fileExists } from "../checks.ts";
import type { Revision } from "../ledger.ts";

/** Throws `file-exists` when `path` is taken, `disk-full` or `file-unwritable`. */
export const writeSnapshot = (
  db: Database,
  path: string,
): Promise<{ revision: Revision; bytes: number; sha256: string }> =>
  writeSnapshotFile(path, (temporary) => {
    db.prepare("VACUUM INTO ?").run(temporary);
    return revisionOf(temporary);
  });

/** `fill` makes the file at the path that it is given, and tells the revision that it holds. */
export async function writeSnapshotFile(
  path: string,
  fill: (temporary: string) => Revision | Promise<Revision>,
): Promise<{ revision: Revision; bytes: number; sha256: string }> {
  if (existsSync(path)) throw fileExists(path);
  const temporary = `${path}.new`;
  try {
    ensureDirectory(dirname(path));
    rmSync(temporary, { force: true });
    const revision = await fill(temporary);
    const { bytes, sha256 } = await sealed(temporary);
    await rename(temporary, path);
    syncDirectory(dirname(path));
    return { revision, bytes, sha256 };
  } catch (cause) {
    rmSync(temporary, { force: true });
    const failure = sqliteFailure(cause, path);
    if (failure instanceof SkerryError) throw failure;
    throw new SkerryError({
      code: "file-unwritable",
      message: `cannot write the snapshot ${path}`,
      cause,
    });
  }
}

/** Read from the copy itself: it says what it holds. */
function revisionOf(path: string): Revision {
  const copy = openDatabase(path, { readOnly: true });
  try {
    return Number(copy.prepare("SELECT revision FROM state").get()?.["revision"]) as Revision;
  } finally {
    copy.close();
  }
}

async function sealed(path: string): Promise<{ bytes: number; sha256: string }> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.byteLength;
  }
  return { bytes, sha256: hash.digest("hex") };
}
