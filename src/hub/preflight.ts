/** What a start of this hub would run with, and what of it will not work on this machine. Changes nothing. */
import {
  effectiveValues,
  folderWarnings,
  resolveInFolder,
  type EffectiveValue,
  type Loaded,
} from "../runtime/config/index.ts";
import { whyNotListen } from "../runtime/listen/index.ts";
import { isNodeFolder } from "../runtime/local/index.ts";
import {
  hubConfigKeys,
  hubRecordPath,
  readHubRecord,
  resolveHubRecord,
  type HubConfig,
} from "./config.ts";
import { runningHub } from "./launch.ts";

/** Throws `invalid-config`, `file-torn` or `data-newer`, as a start would. */
export async function examineHubConfig(given: Loaded<HubConfig>): Promise<{
  readonly values: readonly EffectiveValue[];
  readonly warnings: readonly string[];
}> {
  const { config } = given;
  const { dataDir } = config;
  const folder = folderWarnings(dataDir);
  const existing = readHubRecord(dataDir);
  const { record, refusal } = resolveInFolder((kept) => resolveHubRecord(config, kept), existing);
  const place = { host: record.host, port: record.port, protocol: "tcp", what: "port" } as const;
  const closed = runningHub(dataDir) ? undefined : await whyNotListen(place);
  return {
    values: effectiveValues({
      keys: hubConfigKeys,
      given,
      effective: { ...record, dataDir },
      kept: {
        values: refusal.length > 0 ? {} : { ...existing },
        path: hubRecordPath(dataDir),
      },
    }),
    warnings: [
      ...(isNodeFolder(dataDir) ? [`dataDir: ${dataDir} belongs to a node`] : []),
      ...refusal,
      ...folder,
      ...(closed === undefined ? [] : [closed]),
    ],
  };
}
