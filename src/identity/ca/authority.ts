/**
 * The key that a cell (or the hub) trusts, in a folder of its servers. One record holds the key, or
 * says where it is, and its anchor, so that they can never disagree. The anchor lives ten years: nothing that happens to
 * the link ever ends a cell's trust in itself.
 */
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { ensureDirectory, readRecord, writeRecord } from "../../runtime/files/index.ts";
import { readCertificatesPem, toPem } from "../certificates/certificate.ts";
import { createRequest, generateKeyPem, spkiPin } from "../certificates/keys.ts";
import type { Credentials, Trust } from "../credentials.ts";
import type { HubTrust } from "../enrolment/messages.ts";
import { isTrustDomain, spiffeId, type Subject } from "../spiffe.ts";
import { dayMs, issueCertificate, keyOfRequest, type Signer } from "./issue.ts";
import { pemKey, type PemKey, type SigningKey } from "./signing-key.ts";

export const anchorLifetimeMs = 3650 * dayMs;
export const leafLifetimeMs = 30 * dayMs;
export const intermediateLifetimeMs = 90 * dayMs;

export type ServingNames = { readonly dns?: readonly string[]; readonly ips?: readonly string[] };

export interface Authority<Key extends SigningKey = SigningKey> {
  readonly trustDomain: string;
  /** Trust in this authority's own anchor. */
  readonly trust: Trust;
  /** `base64url(sha256(SPKI))`: what join tokens pin. */
  readonly pin: string;
  readonly signer: Signer<Key>;
  /** The hub's trust, and its certificate for this key; sent along with identity leaves. */
  readonly hub: HubTrust | undefined;
  /** Keeps them durably. Throws `invalid-intermediate` when the certificate is not for this key. */
  setHub(hub: HubTrust): void;
  /** An identity chain in PEM for the key proved by `request`. Throws `invalid-request`. */
  issueIdentity(request: Uint8Array, subject: Subject): Promise<string>;
  /** A serving chain in PEM: chained to the local anchor only. Throws `invalid-request`, `invalid-name`. */
  issueServing(request: Uint8Array, names: ServingNames): Promise<string>;
  /** A key made here and its identity: for `user/admin` and the authority's own services. */
  issueCredentials(subject: Subject): Promise<Credentials>;
}

/** One whose key stands in its folder: every cell's, and a hub's unless a module holds it. */
export type FolderAuthority = Authority<PemKey>;

/** What there is of an authority without its key. */
export type AnchorRecord = {
  readonly version: 1;
  readonly trustDomain: string;
  readonly anchorPem: string;
  readonly hub?: HubTrust;
};

/** `ca.json`. */
export type StoredAuthority = AnchorRecord & { readonly keyPem: string };

export type AuthorityDeps = { readonly random: Random; readonly nowMs: () => number };

export const authorityPath = (folder: string) => join(folder, "ca.json");

/**
 * Makes a new key and anchor in `folder`. Throws `authority-exists` rather than replace one, since
 * that would end the trust of every node that joined.
 */
export async function createAuthority(
  deps: AuthorityDeps,
  options: { folder: string; trustDomain: string; pathLength?: number },
): Promise<FolderAuthority> {
  const { folder } = options;
  refuseToReplace(folder);
  const key = pemKey(generateKeyPem());
  const anchor = await anchorFor(deps, key, options);
  const stored: StoredAuthority = { ...anchor, keyPem: key.keyPem };
  keepAuthority(folder, stored);
  return authorityWith(deps, { folder, stored, key });
}

/** An anchor of this key, made now. Throws `invalid-identity`, and what the key throws. */
export async function anchorFor(
  deps: AuthorityDeps,
  key: SigningKey,
  options: { trustDomain: string; pathLength?: number },
): Promise<AnchorRecord> {
  const { trustDomain } = options;
  if (!isTrustDomain(trustDomain)) {
    throw new SkerryError({
      code: "invalid-identity",
      message: `trustDomain: "${trustDomain}" is not a trust domain`,
      hint: "write it as a host name: cell-a.skerry",
    });
  }
  const anchor = await issueCertificate(deps, {
    signer: { key, name: authorityName(trustDomain) },
    publicKey: key.publicKey,
    nowMs: deps.nowMs(),
    lifetimeMs: anchorLifetimeMs,
    shape: { kind: "anchor", pathLength: options.pathLength ?? 1 },
  });
  return { version: 1, trustDomain, anchorPem: toPem(anchor) };
}

/** The first record of a folder. Throws `authority-exists`. */
export function keepAuthority(folder: string, stored: AnchorRecord): void {
  ensureDirectory(folder);
  // Another process may have made one while this one was signing.
  refuseToReplace(folder);
  writeRecord(authorityPath(folder), stored);
}

function refuseToReplace(folder: string): void {
  if (readRecord(authorityPath(folder)) === undefined) return;
  throw new SkerryError({
    code: "authority-exists",
    message: `${folder} already holds a certificate authority`,
    hint: "open it, or choose another folder",
  });
}

/** The authority in `folder`; undefined when there is none. Throws `file-torn`, `invalid-key`. */
export function openAuthority(deps: AuthorityDeps, folder: string): FolderAuthority | undefined {
  const stored = readRecord(authorityPath(folder)) as StoredAuthority | undefined;
  return stored && authorityWith(deps, { folder, stored, key: pemKey(stored.keyPem) });
}

export const authorityName = (trustDomain: string) => `${trustDomain} CA`;

/** The authority of a record, whose key is wherever it is. */
export function authorityWith<Key extends SigningKey>(
  deps: AuthorityDeps,
  options: { folder: string; stored: AnchorRecord; key: Key },
): Authority<Key> {
  const { folder, key: signingKey } = options;
  let { stored } = options;
  const { trustDomain, anchorPem } = stored;
  const signer = { key: signingKey, name: authorityName(trustDomain) };
  const issue = async (key: Uint8Array, shape: Parameters<typeof issueCertificate>[1]["shape"]) =>
    toPem(
      await issueCertificate(deps, {
        signer,
        publicKey: key,
        nowMs: deps.nowMs(),
        lifetimeMs: leafLifetimeMs,
        shape,
      }),
    );

  const self: Authority<Key> = {
    trustDomain,
    trust: { trustDomain, anchorsPem: [anchorPem] },
    pin: spkiPin(signingKey.publicKey),
    signer,
    get hub() {
      return stored.hub;
    },
    setHub(hub) {
      const [certificate] = readCertificatesPem(hub.intermediatePem);
      const spki = certificate?.publicKey.export({ type: "spki", format: "der" });
      if (!certificate?.mayIssue || !spki || spkiPin(spki) !== self.pin) {
        throw new SkerryError({
          code: "invalid-intermediate",
          message: `not a certificate for the authority of ${trustDomain}`,
        });
      }
      const next = { ...stored, hub };
      writeRecord(authorityPath(folder), next);
      stored = next;
    },
    async issueIdentity(request, subject) {
      const named = spiffeId(subject.trustDomain, ...subject.path);
      if (named.trustDomain !== trustDomain) {
        throw new SkerryError({
          code: "invalid-identity",
          message: `${named.id} is not of ${trustDomain}, for which this authority issues`,
        });
      }
      const leaf = await issue(await keyOfRequest(request), { kind: "identity", subject: named });
      return leaf + (stored.hub?.intermediatePem ?? "");
    },
    async issueServing(request, names) {
      const [name = "skerry"] = [...(names.dns ?? []), ...(names.ips ?? [])];
      return issue(await keyOfRequest(request), {
        kind: "serving",
        name: name.slice(0, 64),
        ...names,
      });
    },
    async issueCredentials(subject) {
      const ownKeyPem = generateKeyPem();
      return {
        keyPem: ownKeyPem,
        chainPem: await self.issueIdentity(await createRequest(ownKeyPem), subject),
      };
    },
  };
  return self;
}
