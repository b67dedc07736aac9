/** What a start of this hub would run with, and what of it will not work on this machine. Changes nothing. */
import {
  effectiveValues,
  folderWarnings,
  resolveInFolder,
  type EffectiveValue,
  type Loaded,
} from "../runtime/config/index.ts";
import { whyNotListen } from "../runtime/listen/index.ts";
import { authorityPath, keptKeyReference } from "../identity/index.ts";
import { isNodeFolder } from "../runtime/local/index.ts";
import { parseKeyReference, whyNoKey } from "../runtime/key-module/index.ts";
import {
  hubConfigKeys,
  hubRecordPath,
  readHubRecord,
  resolveHubRecord,
  type HubConfig,
} from "./config.ts";
import { authorityFolder } from "./hub-authority.ts";
import { runningHub } from "./launch.ts";

/** Where the authority's key is, and what says so; undefined: in the authority's folder. */
function keyIn({ config, originByField }: Loaded<HubConfig>, folder: string) {
  const { authorityKey = keptKeyReference(folder) } = config;
  if (authorityKey === undefined) return undefined;
  return { authorityKey, from: originByField["authorityKey"] ?? authorityPath(folder) };
}

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
  const key = keyIn(given, authorityFolder(dataDir, record));
  const noKey = key ? await whyNoKey(parseKeyReference(key.authorityKey)) : [];
  return {
    values: effectiveValues({
      keys: hubConfigKeys,
      given: key
        ? { config, originByField: { ...given.originByField, authorityKey: key.from } }
        : given,
      effective: { ...record, dataDir, authorityKey: key?.authorityKey },
      kept: {
        values: refusal.length > 0 ? {} : { ...existing },
        path: hubRecordPath(dataDir),
      },
    }),
    warnings: [
      ...(isNodeFolder(dataDir) ? [`dataDir: ${dataDir} belongs to a node`] : []),
      ...refusal,
      ...folder,
      ...noKey.map((problem) => `authorityKey: ${problem}`),
      ...(closed === undefined ? [] : [closed]),
    ],
  };
}
