/**
 * `ledger/ledger.json`: which engine holds this server's ledger, and as which member. Without the file
 * it is SQLite. It is the commit point of every change: of a conversion, of a join, of a farewell.
 */
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import { SkerryError } from "../../lib/errors.ts";
import {
  ensureDirectory,
  readRecord,
  syncDirectory,
  writeRecord,
} from "../../runtime/files/index.ts";

const endpoint = z.object({ name: z.string(), host: z.string(), port: z.number().int() });

const schema = z.object({
  version: z.literal(1),
  engine: z.literal("etcd"),
  /**
   * `joining`: etcd runs here, the node is no server yet; `leaving`: it is none any more, and what is
   * left of it is removed.
   */
  state: z.enum(["joining", "member", "leaving"]),
  /** Of the cluster: members of another refuse this one. */
  token: z.string(),
  member: z.string(),
  /** Decimal; absent until the founder of a cluster has asked for it. */
  memberId: z.string().optional(),
  clientPort: z.number().int(),
  peersPort: z.number().int(),
  /** How it started for the first time. */
  initial: z.object({
    cluster: z.enum(["new", "existing"]),
    members: z.array(z.object({ name: z.string(), peerUrl: z.string() })),
  }),
  /** Of the history when it was last seen, for those who ask before there is quorum. */
  epoch: z.string(),
  /** Where members served clients when they were last seen. */
  endpoints: z.array(endpoint),
  /** Members that serve no clients, when they were last seen. */
  witnesses: z
    .array(
      z.object({ name: z.string(), id: z.string(), peerUrl: z.string(), isLearner: z.boolean() }),
    )
    .optional(),
  timers: z.object({ heartbeatMs: z.number(), electionMs: z.number() }).optional(),
});

export type LedgerRecord = Readonly<z.infer<typeof schema>>;

export const ledgerFolder = (dataDir: string) => join(dataDir, "ledger");
export const ledgerRecordPath = (dataDir: string) => join(ledgerFolder(dataDir), "ledger.json");

/** Undefined: this server's ledger is SQLite, or it is no server. Throws `file-torn`, `data-newer`. */
export function readLedgerRecord(dataDir: string): LedgerRecord | undefined {
  const path = ledgerRecordPath(dataDir);
  const value = readRecord(path);
  if (value === undefined) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SkerryError({
    code: "data-newer",
    message: `${path} was written by another version: ${z.prettifyError(result.error)}`,
    hint: "start that version again; nothing was changed",
  });
}

/** Durable when it returns. Throws `disk-full`, `file-unwritable`. */
export function writeLedgerRecord(dataDir: string, record: LedgerRecord): void {
  ensureDirectory(ledgerFolder(dataDir));
  writeRecord(ledgerRecordPath(dataDir), record);
}

export function removeLedgerRecord(dataDir: string): void {
  const path = ledgerRecordPath(dataDir);
  rmSync(path, { force: true });
  syncDirectory(dirname(path));
}
