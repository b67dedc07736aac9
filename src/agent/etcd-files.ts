/** What this node's member of etcd stands on: its folder, its keys, and the leaf that is renewed in time. */
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { ledgerLeafIsDue, openLedgerAuthority, type LedgerAuthority } from "../identity/index.ts";
import type { EtcdCredentials } from "../ledger/index.ts";
import { ledgerFolder } from "../ledger/servers/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import {
  ensureDirectory,
  readFileIfExists,
  syncDirectory,
  writeFileAtomic,
} from "../runtime/files/index.ts";
import { databaseFiles } from "../runtime/sqlite/index.ts";
import { identityFolder, ledgerFile } from "./data-folder.ts";

export type EtcdFiles = {
  readonly folder: string;
  /** PEM files that etcd reads anew for every connection. */
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
};

export function etcdFiles(dataDir: string): EtcdFiles {
  const base = ledgerFolder(dataDir);
  const tls = join(base, "tls");
  return {
    folder: join(base, "etcd"),
    tls: { cert: join(tls, "cert.pem"), key: join(tls, "key.pem"), ca: join(tls, "ca.pem") },
  };
}

/** Writes what is missing or due, with the same key for as long as there is one. True when it wrote. */
export async function refreshEtcdLeaf(
  deps: { random: Random; nowMs: () => number },
  dataDir: string,
  address: string,
): Promise<boolean> {
  const authority = authorityOf(deps, dataDir);
  const { tls } = etcdFiles(dataDir);
  const [keyPem, chainPem] = [tls.key, tls.cert].map((path) => readFileIfExists(path)?.toString());
  const isWhole = keyPem !== undefined && chainPem !== undefined && existsSync(tls.ca);
  const addresses = [address];
  if (isWhole && !ledgerLeafIsDue(authority, { chainPem, addresses }, deps.nowMs())) return false;
  const leaf = await authority.issue({ addresses, ...(keyPem === undefined ? {} : { keyPem }) });
  ensureDirectory(join(ledgerFolder(dataDir), "tls"));
  writeFileAtomic(tls.ca, authority.anchorPem);
  writeFileAtomic(tls.key, leaf.keyPem);
  writeFileAtomic(tls.cert, leaf.chainPem);
  return true;
}

function authorityOf(
  deps: { random: Random; nowMs: () => number },
  dataDir: string,
): LedgerAuthority {
  const authority = openLedgerAuthority(deps, identityFolder(dataDir));
  if (authority) return authority;
  throw new SkerryError({
    code: "not-a-server",
    message: "this node has no authority of the ledger",
    hint: "put it in place again from a server: skerry server replace NODE",
  });
}

export function readEtcdCredentials(dataDir: string): EtcdCredentials {
  const { tls } = etcdFiles(dataDir);
  const text = (path: string) => readFileSync(path, "utf8");
  return { keyPem: text(tls.key), certPem: text(tls.cert), caPem: text(tls.ca) };
}

export const hasEtcdData = (dataDir: string) =>
  existsSync(join(etcdFiles(dataDir).folder, "member"));

/** etcd must not run. */
export function wipeEtcdFolder(dataDir: string): void {
  const { folder } = etcdFiles(dataDir);
  for (const path of [folder, `${folder}.version`]) rmSync(path, { recursive: true, force: true });
}

const asidePath = (dataDir: string) => join(dataDir, "ledger-before-etcd.db");

/**
 * The file of the former engine is kept, under a name that nobody opens; beside it, since the folder
 * of the new one may be a disk of its own.
 */
export function putSqliteAside(dataDir: string): void {
  if (!existsSync(ledgerFile(dataDir))) return;
  for (const from of databaseFiles(ledgerFile(dataDir))) {
    const to = asidePath(dataDir) + from.slice(ledgerFile(dataDir).length);
    if (existsSync(from)) renameSync(from, to);
    else rmSync(to, { force: true });
  }
  syncDirectory(dataDir);
}

/** Of a node that is no server any more: nothing that could speak for the cell stays. */
export function removeLedgerFiles(dataDir: string): void {
  for (const path of databaseFiles(ledgerFile(dataDir))) rmSync(path, { force: true });
  wipeEtcdFolder(dataDir);
  rmSync(dirname(etcdFiles(dataDir).tls.key), { recursive: true, force: true });
  for (const path of databaseFiles(asidePath(dataDir))) rmSync(path, { force: true });
}
