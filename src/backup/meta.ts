/** What everybody may know of a backup: it stands beside the sealed file, in the clear. */
import * as z from "zod";
import { SkerryError } from "../lib/errors.ts";

const metaSchema = z.strictObject({
  /** `mill-20260131T080000Z-r4711`: also the name of its file, before `.age`. */
  id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,120}$/i),
  cell: z.string().max(63),
  /** The node that made it. */
  by: z.string().max(63),
  /** Milliseconds since 1970, by the cell's time. */
  atMs: z.number().int().min(0),
  /** The ledger's revision that it holds. */
  revision: z.number().int().min(0),
  keys: z.number().int().min(0),
  /** Of the sealed file. */
  bytes: z.number().int().min(1),
  /** Of the sealed file; hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Whose key opens it. */
  recipients: z.array(z.string().max(100)).min(1).max(8),
});

export type BackupMeta = z.infer<typeof metaSchema>;

/** Throws `invalid-message`. */
export function parseMeta(value: unknown): BackupMeta {
  const result = metaSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new SkerryError({
    code: "invalid-message",
    message: `what is told of a backup cannot be read: ${issue?.path.join(".")}: ${issue?.message}`,
    hint: "it comes from a version that this one does not know; bring both to the same",
  });
}

export function backupId(cell: string, atMs: number, revision: number): string {
  const at = new Date(atMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return `${cell}-${at}-r${revision}`;
}
