/**
 * Copies on other machines, over links: offered, sent in pieces from where the other side has got to,
 * and taken there only when the digest of the whole is right. A link that breaks costs one piece.
 */
import { SkerryError } from "../lib/errors.ts";
import type { Link, Peer, Router } from "../transport/index.ts";
import type { BackupFolder, Offered } from "./folder.ts";
import { parseMeta, type BackupMeta } from "./meta.ts";

const pieceBytes = 256 * 1024;
const timeoutMs = 30_000;
/** Behind everything else that the link carries. */
const options = { timeoutMs, priority: 2 } as const;

/** Another machine that keeps backups. */
export interface Holder {
  /** A node's name, or `hub`. */
  readonly name: string;
  list(): Promise<readonly BackupMeta[]>;
  offer(meta: BackupMeta): Promise<Offered>;
  append(meta: BackupMeta, from: number, bytes: Uint8Array): Promise<Offered>;
  read(id: string, from: number): Promise<Uint8Array>;
  check(id: string): Promise<"sound" | "damaged">;
}

export function holderOver(name: string, link: Link): Holder {
  const ask = async (method: string, head: unknown, bytes?: Uint8Array) =>
    await link.request(method, encode(head, bytes), options);
  return {
    name,
    list: async () => (json(await ask("backup.list", {})) as unknown[]).map(parseMeta),
    offer: async (meta) => json(await ask("backup.offer", { meta })) as Offered,
    append: async (meta, from, bytes) =>
      json(await ask("backup.append", { meta, from }, bytes)) as Offered,
    read: async (id, from) => await ask("backup.read", { id, from }),
    check: async (id) =>
      (json(await ask("backup.check", { id })) as { state: "sound" | "damaged" }).state,
  };
}

/**
 * Answers what `holderOver` asks. `folderOf` says where a peer's backups are kept, and throws
 * `forbidden` for those who keep none here.
 */
export function serveCopies(
  router: Router,
  deps: {
    folderOf(peer: Peer): Promise<BackupFolder>;
    /** Why no copy is taken now. */
    refusal(): string | undefined;
  },
): void {
  const refuseWhenShort = () => {
    const why = deps.refusal();
    if (why === undefined) return;
    throw new SkerryError({
      code: "disk-full",
      message: `no backups are kept here now: ${why}`,
      hint: "free space on this disk",
      retryable: true,
    });
  };
  router.handle("backup.list", async ({ peer }) => encode((await deps.folderOf(peer)).list()));
  router.handle("backup.offer", async ({ peer, body }) => {
    const folder = await deps.folderOf(peer);
    const meta = parseMeta(headOf(body).head["meta"]);
    if (!folder.find(meta.id)) refuseWhenShort();
    return encode(await folder.offer(meta));
  });
  router.handle("backup.append", async ({ peer, body }) => {
    const folder = await deps.folderOf(peer);
    refuseWhenShort();
    const { head, rest } = headOf(body);
    return encode(await folder.append(parseMeta(head["meta"]), numberOf(head["from"]), rest));
  });
  router.handle("backup.read", async ({ peer, body }) => {
    const { head } = headOf(body);
    const folder = await deps.folderOf(peer);
    return await folder.read(String(head["id"]), numberOf(head["from"]), pieceBytes);
  });
  router.handle("backup.check", async ({ peer, body }) => {
    const folder = await deps.folderOf(peer);
    return encode({ state: await folder.check(String(headOf(body).head["id"])) });
  });
}

/** Sends what `holder` lacks of a backup. Throws what the link or the holder throws. */
export async function sendCopy(
  folder: BackupFolder,
  holder: Holder,
  meta: BackupMeta,
  progress: (bytes: number) => void = () => undefined,
): Promise<void> {
  let offered = await holder.offer(meta);
  let turns = 0;
  while (offered.state === "want") {
    // Two senders at once would chase each other: each piece moves one of them on.
    if (turns++ > 2 * Math.ceil(meta.bytes / pieceBytes) + 8)
      throw new SkerryError({
        code: "backup-not-copied",
        message: `${holder.name} does not get to the end of ${meta.id}`,
        retryable: true,
      });
    const piece = await folder.read(meta.id, offered.from, pieceBytes);
    offered = await holder.append(meta, offered.from, piece);
    progress(offered.state === "want" ? offered.from : meta.bytes);
  }
}

/** Brings a backup that another machine holds into `folder`. Throws `backup-damaged`, and as the link. */
export async function fetchCopy(
  folder: BackupFolder,
  holder: Holder,
  meta: BackupMeta,
): Promise<void> {
  let offered = await folder.offer(meta);
  while (offered.state === "want") {
    const piece = await holder.read(meta.id, offered.from);
    if (piece.byteLength === 0) {
      throw new SkerryError({
        code: "backup-damaged",
        message: `${holder.name} has less of ${meta.id} than it said`,
        hint: "take it from another machine: skerry backup list",
      });
    }
    offered = await folder.append(meta, offered.from, piece);
  }
}

/** A line of JSON, then bytes. */
function encode(head: unknown, bytes?: Uint8Array): Uint8Array {
  const line = Buffer.from(`${JSON.stringify(head)}\n`);
  return bytes ? Buffer.concat([line, bytes]) : line;
}

function headOf(body: Uint8Array): { head: Record<string, unknown>; rest: Uint8Array } {
  const end = body.indexOf(10);
  const head = json(body.subarray(0, Math.max(0, end)));
  if (typeof head === "object" && head !== null)
    return { head: head as Record<string, unknown>, rest: body.subarray(end + 1) };
  throw unreadable();
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    throw unreadable(cause);
  }
}

function numberOf(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw unreadable();
}

const unreadable = (cause?: unknown) =>
  new SkerryError({
    code: "invalid-message",
    message: "a request about backups cannot be read",
    hint: "the two run versions that do not know each other; bring both to the same",
    cause,
  });
