/**
 * The hub's authority by reference: its folder has the anchor and says where the key is, a module
 * (PKCS#11) signs. A hub whose key stood in the folder keeps its anchor, and with it all its cells.
 */
import type { Clock } from "../../lib/clock.ts";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";
import type { ModuleKey } from "../../runtime/key-module/index.ts";
import { readCertificatesPem } from "../certificates/certificate.ts";
import { spkiPin } from "../certificates/keys.ts";
import {
  anchorFor,
  authorityName,
  authorityPath,
  authorityWith,
  keepAuthority,
  type AnchorRecord,
  type Authority,
  type AuthorityDeps,
  type StoredAuthority,
} from "./authority.ts";
import { watchKey, type WatchedKey } from "./watched-key.ts";

/** `ca.json` of an authority whose key is elsewhere. */
type ReferredRecord = AnchorRecord & {
  /** RFC 7512. */
  readonly keyReference: string;
};

const readAnchor = (folder: string) =>
  readRecord(authorityPath(folder)) as StoredAuthority | ReferredRecord | undefined;

/** Where a folder says that its authority's key is; undefined: in it, or there is no authority yet. */
export function keptKeyReference(folder: string): string | undefined {
  const stored = readAnchor(folder);
  return stored && "keyReference" in stored ? stored.keyReference : undefined;
}

/** The pin of the authority in `folder`, wherever its key is. Throws `file-torn`. */
export function readAuthorityPin(folder: string): string | undefined {
  const stored = readAnchor(folder);
  return stored && spkiPin(keyOfAnchor(stored));
}

/**
 * The authority in `folder`, made when there is none. A key that stood in the folder leaves it once
 * the module has signed with the same one; a new reference is kept likewise. While the module is away
 * one that was in a module before opens none the less, and signs when it is back. Throws
 * `authority-key-wrong`, and where the module is needed, what it throws; nothing was changed then.
 */
export async function openReferredAuthority(
  deps: AuthorityDeps & { clock: Clock; log: Log },
  options: {
    folder: string;
    trustDomain: string;
    reference: string;
    module: Pick<ModuleKey, "readPublicKey" | "sign">;
  },
): Promise<Authority<WatchedKey>> {
  const { folder, trustDomain, reference, module } = options;
  const keyFor = (domain: string, publicKey: Uint8Array) =>
    watchKey(deps, {
      name: authorityName(domain),
      publicKey,
      sign: (bytes) => module.sign(bytes),
    });
  const stored = readAnchor(folder);
  if (!stored) {
    const key = keyFor(trustDomain, await module.readPublicKey());
    const anchor = await anchorFor(deps, key, { trustDomain });
    const made: ReferredRecord = { ...anchor, keyReference: reference };
    keepAuthority(folder, made);
    return authorityWith(deps, { folder, stored: made, key });
  }
  const key = keyFor(stored.trustDomain, keyOfAnchor(stored));
  const wasThere = "keyReference" in stored;
  try {
    await key.check();
  } catch (error) {
    // A key that is away comes back; one that is another one does not become ours.
    if (!wasThere || encodeError(error).code === "authority-key-wrong") throw error;
    return authorityWith(deps, { folder, stored, key });
  }
  if (wasThere && stored.keyReference === reference)
    return authorityWith(deps, { folder, stored, key });
  const { anchorPem, hub } = stored;
  const told: ReferredRecord = {
    ...{ version: 1, trustDomain: stored.trustDomain, anchorPem, keyReference: reference },
    ...(hub && { hub }),
  };
  writeRecord(authorityPath(folder), told);
  deps.log.info(
    wasThere
      ? "the authority's folder says where its key is now"
      : "the authority's key is in the module, and stands in its folder no longer",
    { folder, keyReference: reference },
  );
  return authorityWith(deps, { folder, stored: told, key });
}

function keyOfAnchor({ anchorPem }: AnchorRecord): Uint8Array {
  const [anchor] = readCertificatesPem(anchorPem);
  if (anchor) return anchor.publicKey.export({ type: "spki", format: "der" });
  throw new SkerryError({ code: "certificate-unreadable", message: "ca.json holds no anchor" });
}
