/** What the hub's storage thread is started with. */
import type { LogLevel } from "../runtime/log/index.ts";

export type HubStorageData = {
  readonly dataDir: string;
  readonly logLevel: LogLevel;
  readonly logPath?: string;
};
