/**
 * The key that a cell (or the hub) trusts, in a folder of its servers. One record holds the key and
 * its anchor, so that they can never disagree. The anchor lives ten years: nothing that happens to
 * the link ever ends a cell's trust in itself.
 */
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { ensureDirectory, readRecord, writeRecord } from "../../runtime/files/index.ts";
import { readCertificatesPem, toPem } from "../certificates/certificate.ts";
import { createRequest, generateKeyPem, publicKeyOf, spkiPin } from "../certificates/keys.ts";
import type { Credentials, Trust } from "../credentials.ts";
import type { HubTrust } from "../enrolment/messages.ts";
import { isTrustDomain, spiffeId, type Subject } from "../spiffe.ts";
import { dayMs, issueCertificate, keyOfRequest, type Signer } from "./issue.ts";

export const anchorLifetimeMs = 3650 * dayMs;
export const leafLifetimeMs = 30 * dayMs;
export const intermediateLifetimeMs = 90 * dayMs;

export type ServingNames = { readonly dns?: readonly string[]; readonly ips?: readonly string[] };

export interface Authority {
  readonly trustDomain: string;
  /** Trust in this authority's own anchor. */
  readonly trust: Trust;
  /** `base64url(sha256(SPKI))`: what join tokens pin. */
  readonly pin: string;
  /** The key itself, to sign with or to request an intermediate for. */
  readonly signer: Signer;
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

/** `ca.json`. */
export type StoredAuthority = {
  readonly version: 1;
  readonly trustDomain: string;
  readonly keyPem: string;
  readonly anchorPem: string;
  readonly hub?: HubTrust;
};

export type AuthorityDeps = { readonly random: Random; readonly nowMs: () => number };

export const authorityPath = (folder: string) => join(folder, "ca.json");

/**
 * Makes a new key and anchor in `folder`. Throws `authority-exists` rather than replace one, since
 * that would end the trust of every node that joined.
 */
export async function createAuthority(
  deps: AuthorityDeps,
  options: { folder: string; trustDomain: string; pathLength?: number },
): Promise<Authority> {
  const { folder, trustDomain } = options;
  if (!isTrustDomain(trustDomain)) {
    throw new SkerryError({
      code: "invalid-identity",
      message: `trustDomain: "${trustDomain}" is not a trust domain`,
      hint: "write it as a host name: cell-a.skerry",
    });
  }
  refuseToReplace(folder);
  const keyPem = generateKeyPem();
  const anchor = await issueCertificate(deps, {
    signer: { keyPem, name: authorityName(trustDomain) },
    publicKey: publicKeyOf(keyPem),
    nowMs: deps.nowMs(),
    lifetimeMs: anchorLifetimeMs,
    shape: { kind: "anchor", pathLength: options.pathLength ?? 1 },
  });
  const stored: StoredAuthority = { version: 1, trustDomain, keyPem, anchorPem: toPem(anchor) };
  ensureDirectory(folder);
  // Another process may have made one while this one was signing.
  refuseToReplace(folder);
  writeRecord(authorityPath(folder), stored);
  return authority(deps, folder, stored);
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
export function openAuthority(deps: AuthorityDeps, folder: string): Authority | undefined {
  const stored = readRecord(authorityPath(folder)) as StoredAuthority | undefined;
  return stored && authority(deps, folder, stored);
}

export const authorityName = (trustDomain: string) => `${trustDomain} CA`;

function authority(deps: AuthorityDeps, folder: string, initial: StoredAuthority): Authority {
  let stored = initial;
  const { trustDomain, keyPem, anchorPem } = stored;
  const publicKey = publicKeyOf(keyPem);
  const signer = { keyPem, name: authorityName(trustDomain) };
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

  const self: Authority = {
    trustDomain,
    trust: { trustDomain, anchorsPem: [anchorPem] },
    pin: spkiPin(publicKey),
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
