export { pack, unpack, type ArchiveFile } from "./archive.ts";
export { generateRecoveryKey, parseRecoveryKey, type RecoveryKey } from "./age/keys.ts";
export { seal, unseal } from "./age/seal.ts";
export { createTally, decodeRecords, encodeRecord, type Content } from "./dump.ts";
export type { BackupMeta } from "./meta.ts";
export type { LedgerRecord } from "./ports.ts";
export { defaultRetention, surplus, type Retention } from "./retention.ts";
export { defaultSchedule, waitMs, type Schedule } from "./schedule.ts";
