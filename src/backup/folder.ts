/**
 * The backups of one place: sealed files with what everybody may know beside them, and those that are
 * still coming in. A name appears when its file is whole, proved by its digest and durable; what is
 * no longer kept goes by the rules of `retention.ts` whenever one comes.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { SkerryError, systemCode } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { ensureDirectory, writeRecordAsync, readRecord } from "../runtime/files/index.ts";
import { damaged } from "./age/header.ts";
import { parseMeta, type BackupMeta } from "./meta.ts";
import { newestFirst, surplus, type Retention } from "./retention.ts";

/** What a place has of a backup that is offered to it: all, or so many bytes. */
export type Offered =
  | { readonly state: "have" }
  | { readonly state: "want"; readonly from: number };

export interface BackupFolder {
  /** Newest first. */
  list(): readonly BackupMeta[];
  find(id: string): BackupMeta | undefined;
  path(id: string): string;
  /** Moves a sealed file of this disk in. Throws `backup-damaged`, `disk-full`. */
  adopt(meta: BackupMeta, file: string): Promise<void>;
  /** Throws `backup-too-large` for one that would not fit even alone. */
  offer(meta: BackupMeta): Promise<Offered>;
  /** Takes bytes that follow what is there; others change nothing. Throws `backup-damaged`, `disk-full`. */
  append(meta: BackupMeta, from: number, bytes: Uint8Array): Promise<Offered>;
  /** At most `bytesMax` bytes; throws `backup-unknown`. */
  read(id: string, from: number, bytesMax: number): Promise<Uint8Array>;
  /** Reads it all and compares its digest; a damaged one is taken away. Throws `backup-unknown`. */
  check(id: string): Promise<"sound" | "damaged">;
  /** Gives up all but the newest: the disk is short. Answers how many went. */
  giveWay(): Promise<number>;
}

const ending = ".age";
const partEnding = ".part";

/** Opens or makes `folder`. Files that are not whole are left out, and told in the log. */
export async function openBackupFolder(
  deps: { log: Log },
  options: { folder: string; retention: Retention },
): Promise<BackupFolder> {
  const { log } = deps;
  const { folder, retention } = options;
  ensureDirectory(folder);
  let metas = await readMetas(folder, log);
  const at = (id: string, end: string) => join(folder, `${id}${end}`);
  const find = (id: string) => metas.find((meta) => meta.id === id);
  /** One change at a time, whoever asks: files and names must not cross. */
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  };

  const remove = async (gone: readonly BackupMeta[]) => {
    if (gone.length === 0) return;
    const ids = new Set(gone.map(({ id }) => id));
    metas = metas.filter(({ id }) => !ids.has(id));
    for (const id of ids) {
      // The name first: a file without one is no backup.
      await rm(at(id, ".json"), { force: true });
      await rm(at(id, ending), { force: true });
    }
  };

  const publish = async (meta: BackupMeta, file: string) => {
    if ((await digestOf(file)) !== meta.sha256) {
      await rm(file, { force: true });
      throw damaged("what arrived is not what was announced");
    }
    await rename(file, at(meta.id, ending));
    await writeRecordAsync(at(meta.id, ".json"), meta);
    metas = newestFirst([...metas.filter(({ id }) => id !== meta.id), meta]);
    await remove(surplus(metas, retention));
  };

  const received = async (meta: BackupMeta) => sizeOf(at(meta.id, partEnding));

  /** What an offer that was broken off left is of no use once a newer one comes. */
  const dropOtherParts = async (meta: BackupMeta) => {
    for (const name of await readdir(folder))
      if (name.endsWith(partEnding) && name !== `${meta.id}${partEnding}`)
        await rm(join(folder, name), { force: true });
  };

  const requireKnown = (id: string): BackupMeta => {
    const meta = find(id);
    if (meta) return meta;
    throw new SkerryError({
      code: "backup-unknown",
      message: `there is no backup ${id} here`,
      hint: "skerry backup list tells which there are, and where",
    });
  };

  return {
    list: () => metas,
    find,
    path: (id) => at(id, ending),
    adopt: (meta, file) => inTurn(() => explained(publish(meta, file), folder)),

    offer: (meta) =>
      inTurn(async (): Promise<Offered> => {
        if (find(meta.id)?.sha256 === meta.sha256) return { state: "have" };
        if (meta.bytes > retention.bytesMax) {
          throw new SkerryError({
            code: "backup-too-large",
            message: `${meta.id} has ${meta.bytes} bytes; here are ${retention.bytesMax} for all backups`,
          });
        }
        await dropOtherParts(meta);
        const from = await received(meta);
        if (from < meta.bytes) return { state: "want", from };
        await rm(at(meta.id, partEnding), { force: true });
        return { state: "want", from: 0 };
      }),

    append: (meta, from, bytes) =>
      inTurn(async (): Promise<Offered> => {
        if (find(meta.id)?.sha256 === meta.sha256) return { state: "have" };
        const have = await received(meta);
        if (from !== have || bytes.byteLength === 0) return { state: "want", from: have };
        if (have + bytes.byteLength > Math.min(meta.bytes, retention.bytesMax))
          throw damaged("more bytes arrived than were announced");
        const file = at(meta.id, partEnding);
        await explained(writeAt(file, bytes, have), folder);
        if (have + bytes.byteLength < meta.bytes)
          return { state: "want", from: have + bytes.byteLength };
        await explained(publish(meta, file), folder);
        return { state: "have" };
      }),

    async read(id, from, bytesMax) {
      const { bytes } = requireKnown(id);
      await using file = await open(at(id, ending), "r");
      const buffer = new Uint8Array(Math.max(0, Math.min(bytesMax, bytes - from)));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
      return buffer.subarray(0, bytesRead);
    },

    check: (id) =>
      inTurn(async () => {
        const meta = requireKnown(id);
        if ((await digestOf(at(id, ending))) === meta.sha256) return "sound";
        log.error("a copy of a backup is damaged and was taken away", { backup: id });
        await remove([meta]);
        return "damaged";
      }),

    giveWay: () =>
      inTurn(async () => {
        const older = metas.slice(1);
        await remove(older);
        for (const name of await readdir(folder))
          if (name.endsWith(partEnding)) await rm(join(folder, name), { force: true });
        return older.length;
      }),
  };
}

/** What a folder holds, newest first, without being its keeper; nothing where there is no folder. */
export async function lookIntoFolder(
  deps: { log: Log },
  folder: string,
): Promise<readonly (BackupMeta & { readonly path: string })[]> {
  if (!existsSync(folder)) return [];
  const metas = await readMetas(folder, deps.log);
  return metas.map((meta) => ({ ...meta, path: join(folder, `${meta.id}${ending}`) }));
}

async function readMetas(folder: string, log: Log): Promise<BackupMeta[]> {
  const metas: BackupMeta[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".json")) continue;
    try {
      const meta = parseMeta(readRecord(join(folder, name)));
      const bytes = await sizeOf(join(folder, `${meta.id}${ending}`));
      if (name === `${meta.id}.json` && bytes === meta.bytes) metas.push(meta);
      else log.warn("a backup is not whole and is left out", { backup: meta.id, bytes });
    } catch (error) {
      log.warn("what is told of a backup cannot be read; it is left out", { name, error });
    }
  }
  return newestFirst(metas);
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
}

async function writeAt(path: string, bytes: Uint8Array, at: number): Promise<void> {
  await using file = await open(path, at === 0 ? "w" : "r+", 0o600);
  for (let done = 0; done < bytes.byteLength;)
    done += (await file.write(bytes, done, bytes.byteLength - done, at + done)).bytesWritten;
  await file.sync();
}

/** SHA-256 of a whole file, hex. */
export async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) hash.update(piece);
  return hash.digest("hex");
}

/** What the disk says, in the words of `docs/errors.md`. */
export async function explained<T>(work: Promise<T>, where: string): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const system = systemCode(cause);
    if (system !== "ENOSPC" && system !== "EDQUOT") throw cause;
    throw new SkerryError({
      code: "disk-full",
      message: `no space left for backups in ${where}`,
      hint: "free space on this disk; older backups give way by themselves",
      retryable: true,
      cause,
    });
  }
}
