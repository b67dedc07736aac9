/**
 * A copy of the ledger from one member, as `etcdctl snapshot save` writes it: the database and behind
 * it its SHA-256, which is verified. Durable before its name appears.
 */
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { open, rename, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { ensureDirectory, syncDirectory } from "../../runtime/files/index.ts";
import { fileExists } from "../checks.ts";
import type { Revision } from "../ledger.ts";
import { lastRevision } from "./bolt.ts";
import * as wire from "./client/messages.ts";
import { contractErrors, type Core } from "./core.ts";

const hashBytes = 32;
/** Pages of bbolt are multiples of this, so what is over is the hash. */
const sectorBytes = 512;

/** Throws `file-exists`, `disk-full`, `file-unwritable`, `snapshot-damaged` or `ledger-unavailable`. */
export async function writeSnapshot(
  core: Core,
  path: string,
): Promise<{ revision: Revision; bytes: number; sha256: string }> {
  if (existsSync(path)) throw fileExists(path);
  const temporary = `${path}.new`;
  try {
    ensureDirectory(dirname(path));
    const { bytes, sha256, revision } = await receive(core, temporary);
    await rename(temporary, path);
    syncDirectory(dirname(path));
    return { bytes, sha256, revision: (revision + core.history().base) as Revision };
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw unwritable(path, cause);
  }
}

async function receive(
  core: Core,
  temporary: string,
): Promise<{ bytes: number; sha256: string; revision: number }> {
  const { client, timeoutMs } = core;
  await using file = await open(temporary, "w+", 0o600);
  // The member whose copy it is has seen everything that was acknowledged before the call.
  const member = await contractErrors(client.upToDate({ timeoutMs, signal: core.closed }));
  const stream = await contractErrors(
    client.serverStream(wire.snapshot, {}, { timeoutMs, member, signal: core.closed }),
  );
  const cancel = () => stream.cancel();
  core.closed.addEventListener("abort", cancel, { once: true });
  const whole = createHash("sha256");
  let bytes = 0;
  try {
    for await (const { blob } of stream.messages) {
      whole.update(blob);
      await file.writeFile(blob);
      bytes += blob.byteLength;
    }
    core.assertOpen();
  } finally {
    core.closed.removeEventListener("abort", cancel);
  }
  await file.sync();
  await verifyTrailer(file, { path: temporary, bytes });
  return { bytes, sha256: whole.digest("hex"), revision: await lastRevision(file, temporary) };
}

async function verifyTrailer(
  file: FileHandle,
  { path, bytes }: { path: string; bytes: number },
): Promise<void> {
  const hash = createHash("sha256");
  const content = file.createReadStream({ start: 0, end: bytes - hashBytes - 1, autoClose: false });
  for await (const chunk of content as AsyncIterable<Buffer>) hash.update(chunk);
  const trailer = Buffer.alloc(hashBytes);
  await file.read(trailer, 0, hashBytes, bytes - hashBytes);
  if (bytes % sectorBytes === hashBytes && hash.digest().equals(trailer)) return;
  throw new SkerryError({
    code: "snapshot-damaged",
    message: `${path} did not come whole: its checksum does not match`,
    hint: "take another one",
    retryable: true,
  });
}

function unwritable(path: string, cause: unknown): unknown {
  if (cause instanceof SkerryError) return cause;
  const isFull = systemCode(cause) === "ENOSPC" || systemCode(cause) === "EDQUOT";
  return new SkerryError({
    code: isFull ? "disk-full" : "file-unwritable",
    message: `cannot write the snapshot ${path}`,
    retryable: isFull,
    cause,
  });
}
