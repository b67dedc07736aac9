/**
 * What a backup is inside: a manifest, the files of the cell's authority and tokens, and the ledger's
 * dump, in one archive, sealed. Made and read in a thread or process of its own: this hashes, packs
 * and waits for the disk.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createGunzip } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { damaged } from "./age/header.ts";
import type { RecoveryKey } from "./age/keys.ts";
import { seal, unseal } from "./age/seal.ts";
import { pack, unpack, type ArchiveFile } from "./archive.ts";
import { createTally, decodeRecords, type Content } from "./dump.ts";
import type { LedgerRecord } from "./record.ts";

const manifestName = "manifest.json";
const ledgerName = "ledger.ndjson.gz";
const manifestBytesMax = 1024 * 1024;
const fileBytesMax = 4 * 1024 * 1024;

export type Manifest = {
  readonly version: 1;
  readonly id: string;
  readonly cell: string;
  /** Milliseconds since 1970, by the cell's time. */
  readonly atMs: number;
  /** Of the Skerry that made it. */
  readonly skerry: string;
  readonly ledger: Content & {
    readonly engine: string;
    readonly epoch: string;
    readonly revision: number;
  };
  /** `node.json` of the server that made it: what a machine that takes its place begins with. */
  readonly node: Readonly<Record<string, unknown>>;
};

/** A file of the data folder, by its path in it. */
export type KeptFile = { readonly name: string; readonly content: Uint8Array };

export type SealJob = {
  readonly manifest: Manifest;
  readonly files: readonly KeptFile[];
  /** The dump, packed by gzip. */
  readonly dumpPath: string;
  readonly recipients: readonly string[];
  /** A new file, replaced if there is one. */
  readonly path: string;
};

/** Durable when it resolves. Throws what the disk throws. */
export async function sealBackup(
  deps: { random: Random },
  job: SealJob,
): Promise<{ bytes: number; sha256: string }> {
  const manifest = Buffer.from(JSON.stringify(job.manifest, undefined, 2));
  const files: ArchiveFile[] = [
    { name: manifestName, bytes: manifest.length, content: [manifest] },
    ...job.files.map(({ name, content }) => ({
      name,
      bytes: content.byteLength,
      content: [content],
    })),
    {
      name: ledgerName,
      bytes: (await stat(job.dumpPath)).size,
      content: createReadStream(job.dumpPath) as AsyncIterable<Uint8Array>,
    },
  ];
  const hash = createHash("sha256");
  let bytes = 0;
  await using out = await open(job.path, "w", 0o600);
  const archive = pack(files, { atMs: job.manifest.atMs });
  for await (const piece of seal(deps, job.recipients, archive)) {
    hash.update(piece);
    bytes += piece.byteLength;
    await out.writeFile(piece);
  }
  await out.sync();
  return { bytes, sha256: hash.digest("hex") };
}

/** What is done with the parts of a backup as they come by. */
export type Reading = {
  onManifest?(manifest: Manifest): void | Promise<void>;
  onFile?(file: KeptFile): void | Promise<void>;
  onRecords?(records: readonly LedgerRecord[]): void | Promise<void>;
};

/**
 * Reads a whole backup and compares the ledger in it with what its manifest says. What was handed to
 * `reading` is proved only when this resolves. Throws `backup-damaged`, `backup-wrong-key`,
 * `backup-too-new`.
 */
export async function readBackup(
  path: string,
  keys: readonly RecoveryKey[],
  reading: Reading,
): Promise<Manifest> {
  let manifest: Manifest | undefined;
  let content: Content | undefined;
  for await (const file of unpack(unseal(keys, createReadStream(path)))) {
    if (!manifest) {
      manifest = await manifestOf(file);
      await reading.onManifest?.(manifest);
    } else if (file.name === ledgerName) {
      content = await readRecords(file, reading);
    } else {
      const kept = { name: file.name, content: await whole(file, fileBytesMax) };
      await reading.onFile?.(kept);
    }
  }
  if (!manifest || !content) throw damaged("it holds no ledger");
  const { keys: count, sha256 } = manifest.ledger;
  if (content.keys !== count || content.sha256 !== sha256) {
    throw damaged(
      `its ledger has ${content.keys} keys where the manifest says ${count}, or others`,
    );
  }
  return manifest;
}

/** The manifest alone, from the beginning of the file. Throws as `readBackup`. */
export async function readManifest(path: string, keys: readonly RecoveryKey[]): Promise<Manifest> {
  for await (const file of unpack(unseal(keys, createReadStream(path)))) return manifestOf(file);
  throw damaged("it is empty");
}

async function readRecords(file: ArchiveFile, reading: Reading): Promise<Content> {
  const tally = createTally();
  const gunzip = createGunzip();
  const unpacked = pipeline(file.content, gunzip, async (source: AsyncIterable<Uint8Array>) => {
    for await (const records of decodeRecords(source)) {
      for (const record of records) tally.add(record);
      await reading.onRecords?.(records);
    }
  });
  try {
    await unpacked;
  } catch (error) {
    // What zlib throws is as little ours as a changed byte.
    if (error instanceof SkerryError || !isZlib(error)) throw error;
    throw damaged("its ledger cannot be unpacked");
  }
  return tally.content();
}

const isZlib = (error: unknown) =>
  error instanceof Error && "code" in error && String(error.code).startsWith("Z_");

async function manifestOf(file: ArchiveFile): Promise<Manifest> {
  if (file.name !== manifestName) throw damaged("it does not begin with its manifest");
  const text = (await whole(file, manifestBytesMax)).toString();
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch {
    throw damaged("its manifest cannot be read");
  }
  if (manifest.version === 1) return manifest;
  throw new SkerryError({
    code: "backup-too-new",
    message: `the backup was made by a newer Skerry (format ${String(manifest.version)}, known 1)`,
    hint: "restore it with that version; nothing was changed",
  });
}

async function whole(file: ArchiveFile, bytesMax: number): Promise<Buffer> {
  if (file.bytes > bytesMax) throw damaged(`${file.name} is larger than any of its kind`);
  const pieces: Uint8Array[] = [];
  for await (const piece of file.content) pieces.push(piece);
  return Buffer.concat(pieces);
}
