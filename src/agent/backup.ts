/** What the backup thread offers; it is started for one backup and ends with it. */
import type { Manifest, RecoveryKey, SealJob } from "../backup/index.ts";

export type BackupMethods = {
  "backup.seal": (job: SealJob) => Promise<{ bytes: number; sha256: string }>;
  /** Restores it at `scratch`, reads that back, and takes it away again. */
  "backup.prove": (argument: {
    path: string;
    keys: readonly RecoveryKey[];
    scratch: string;
  }) => Promise<Manifest>;
};
