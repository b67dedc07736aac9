export { pack, unpack, type ArchiveFile } from "./archive.ts";
export { generateRecoveryKey, parseRecoveryKey, type RecoveryKey } from "./age/keys.ts";
export { seal, unseal } from "./age/seal.ts";
export { startBackups, type Backups, type BackupsDeps, type Step } from "./backups.ts";
export { fetchCopy, holderOver, sendCopy, serveCopies, type Holder } from "./copies.ts";
export { createTally, decodeRecords, encodeRecord, type Content } from "./dump.ts";
export { lookIntoFolder, openBackupFolder, type BackupFolder } from "./folder.ts";
export { parseMeta, type BackupMeta } from "./meta.ts";
export type { LastBackup, LedgerView, Shared, Source, Workbench } from "./ports.ts";
export type { LedgerRecord } from "./record.ts";
export { reportOf } from "./report.ts";
export { defaultRetention, surplus, type Retention } from "./retention.ts";
export { defaultSchedule, waitMs, type Schedule } from "./schedule.ts";
export {
  readBackup,
  readManifest,
  sealBackup,
  type KeptFile,
  type Manifest,
  type SealJob,
} from "./sealed.ts";
