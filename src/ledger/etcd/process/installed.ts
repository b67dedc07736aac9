/** The etcd that is installed, against the data that another one may have written. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readRecord, writeRecord } from "../../../runtime/files/index.ts";
import type { EtcdMemberOptions } from "./flags.ts";
import {
  assertReads,
  detectEtcd,
  parseEtcdVersion,
  versionText,
  type EtcdVersion,
} from "./version.ts";

/** Throws what `detectEtcd` does, and `ledger-data-newer` for one that must not open the folder. */
export async function usableVersion(binary: string, dataDir: string): Promise<EtcdVersion> {
  const version = await detectEtcd(binary);
  const written = readVersion(dataDir);
  if (written) assertReads(version, written);
  return version;
}

/** What a running process has to be started anew for. Names of peers matter at the first start only. */
export function digestOf(member: EtcdMemberOptions, version: EtcdVersion): string {
  const { initial: _, ...rest } = member;
  return createHash("sha256")
    .update(JSON.stringify([rest, versionText(version)]))
    .digest("hex")
    .slice(0, 32);
}

export const noteVersion = (dataDir: string, version: EtcdVersion) =>
  writeRecord(versionPath(dataDir), { version: versionText(version) });

/** Beside the data: the folder itself is etcd's. */
const versionPath = (dataDir: string) => `${dataDir}.version`;

function readVersion(dataDir: string): EtcdVersion | undefined {
  if (!existsSync(join(dataDir, "member"))) return undefined;
  const record = readRecord(versionPath(dataDir)) as { version?: unknown } | undefined;
  return typeof record?.version === "string" ? parseEtcdVersion(record.version) : undefined;
}
