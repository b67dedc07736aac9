/**
 * The ledger authority: a certificate authority of its own, on servers only. etcd lets in whatever
 * its authority signed, so the cell's authority, which signs every node, must not be the one that it
 * believes. Whoever holds a leaf holds the authority too, so short lives would protect nothing;
 * validity begins in 1970, because etcd judges by the host's clock, and a machine without one is
 * there (a cold start with the clock at its first day) when the ledger is needed.
 */
import { isIP } from "node:net";
import { join } from "node:path";
import type { Random } from "../../lib/random.ts";
import { ensureDirectory, readRecord, writeRecord } from "../../runtime/files/index.ts";
import { readCertificatesPem, toPem, type Certificate } from "../certificates/certificate.ts";
import { ipBytes } from "../certificates/ip.ts";
import { generateKeyPem, publicKeyOf } from "../certificates/keys.ts";
import type { Credentials } from "../credentials.ts";
import { anchorLifetimeMs } from "./authority.ts";
import { dayMs, issueCertificate, type Issue } from "./issue.ts";
import { pemKey } from "./signing-key.ts";

/** What etcd's members ask of each other's leaves (`--peer-cert-allowed-cn`). */
export const ledgerCommonName = "ledger";
export const ledgerLeafLifetimeMs = 730 * dayMs;
/** It is renewed by hand: skerry server renew-witness. */
export const witnessLeafLifetimeMs = 365 * dayMs;

export interface LedgerAuthority {
  readonly trustDomain: string;
  readonly anchorPem: string;
  /** `ledger.CELL.skerry`: the DNS name in every leaf, whatever the member's address. */
  readonly serverName: string;
  /** A leaf for the server at these addresses, for the key given or a new one; for both directions. */
  issue(options: { addresses: readonly string[]; keyPem?: string }): Promise<Credentials>;
  /**
   * For a witness at this address or DNS name, with a key made here. It is good for being asked
   * only: whoever holds it cannot open the ledger of a server. Throws `invalid-name`.
   */
  issueWitness(host: string): Promise<Credentials & { readonly notAfterMs: number }>;
}

/** `ledger-ca.json`; also what an existing server hands to a new one. */
export type StoredLedgerAuthority = {
  readonly version: 1;
  readonly trustDomain: string;
  readonly keyPem: string;
  readonly anchorPem: string;
};

type Deps = { readonly random: Random; readonly nowMs: () => number };

export const ledgerAuthorityPath = (folder: string) => join(folder, "ledger-ca.json");

export const ledgerServerName = (trustDomain: string) => `ledger.${trustDomain}`;

/** The one in `folder`, made when there is none. Throws `file-torn`. */
export async function ensureLedgerAuthority(
  deps: Deps,
  options: { folder: string; trustDomain: string },
): Promise<LedgerAuthority> {
  const { folder, trustDomain } = options;
  const existing = openLedgerAuthority(deps, folder);
  if (existing) return existing;
  const keyPem = generateKeyPem();
  const key = pemKey(keyPem);
  const anchor = await issueCertificate(deps, {
    signer: { key, name: nameOf(trustDomain) },
    publicKey: key.publicKey,
    nowMs: deps.nowMs(),
    notBeforeMs: 0,
    lifetimeMs: anchorLifetimeMs,
    shape: { kind: "anchor", pathLength: 0 },
  });
  const stored: StoredLedgerAuthority = {
    version: 1,
    trustDomain,
    keyPem,
    anchorPem: toPem(anchor),
  };
  ensureDirectory(folder);
  writeRecord(ledgerAuthorityPath(folder), stored);
  return authorityOf(deps, stored);
}

/** Undefined where there is none. Throws `file-torn`. */
export function openLedgerAuthority(deps: Deps, folder: string): LedgerAuthority | undefined {
  const stored = readRecord(ledgerAuthorityPath(folder)) as StoredLedgerAuthority | undefined;
  return stored && authorityOf(deps, stored);
}

/** True from half of a leaf's life on, and when it is not of this authority or not for these addresses. */
export function ledgerLeafIsDue(
  authority: LedgerAuthority,
  leaf: { chainPem: string; addresses: readonly string[] },
  nowMs: number,
): boolean {
  const [certificate] = readCertificatesPem(leaf.chainPem);
  const [anchor] = readCertificatesPem(authority.anchorPem);
  if (!certificate || !anchor?.isSignedBy(anchor) || !certificate.isSignedBy(anchor)) return true;
  return (
    nowMs > certificate.notAfterMs - ledgerLeafLifetimeMs / 2 ||
    !leaf.addresses.every((address) => hasAddress(certificate, address))
  );
}

function hasAddress({ names }: Certificate, address: string): boolean {
  const wanted = ipBytes(address);
  return names.ips.some((ip) => Buffer.compare(ip, wanted) === 0);
}

const nameOf = (trustDomain: string) => `${trustDomain} ledger CA`;

function authorityOf(deps: Deps, stored: StoredLedgerAuthority): LedgerAuthority {
  const { trustDomain, keyPem, anchorPem } = stored;
  const signer = { key: pemKey(keyPem), name: nameOf(trustDomain) };
  const serverName = ledgerServerName(trustDomain);
  const sign = async (
    ownKeyPem: string,
    nowMs: number,
    lifetimeMs: number,
    shape: Extract<Issue["shape"], { kind: "ledger" | "ledger-witness" }>,
  ) => {
    const leaf = await issueCertificate(deps, {
      signer,
      publicKey: publicKeyOf(ownKeyPem),
      nowMs,
      notBeforeMs: 0,
      lifetimeMs,
      shape,
    });
    return { keyPem: ownKeyPem, chainPem: toPem(leaf) };
  };
  return {
    trustDomain,
    anchorPem,
    serverName,
    issue: ({ addresses, keyPem: given }) =>
      sign(given ?? generateKeyPem(), deps.nowMs(), ledgerLeafLifetimeMs, {
        kind: "ledger",
        name: ledgerCommonName,
        dns: [serverName],
        ips: addresses,
      }),
    async issueWitness(host) {
      // Loopback: on its own machine it stands in for the others at its first start.
      const [dns, ips] =
        isIP(host) === 0
          ? [[serverName, host], ["127.0.0.1"]]
          : [[serverName], [...new Set([host, "127.0.0.1"])]];
      const nowMs = deps.nowMs();
      const leaf = await sign(generateKeyPem(), nowMs, witnessLeafLifetimeMs, {
        kind: "ledger-witness",
        name: ledgerCommonName,
        dns,
        ips,
      });
      return { ...leaf, notAfterMs: nowMs + witnessLeafLifetimeMs };
    },
  };
}
