/**
 * What the hub's authority does beyond issuing leaves: it signs cells' keys as intermediates that
 * can speak for their own trust domain only. A domain belongs to the key that enrolled it first.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { toPem } from "../certificates/certificate.ts";
import { spkiPin } from "../certificates/keys.ts";
import { isTrustDomain } from "../spiffe.ts";
import { authorityName, intermediateLifetimeMs, type Authority } from "./authority.ts";
import { issueCertificate, keyOfRequest } from "./issue.ts";

/** Which key a trust domain belongs to; kept by the hub's root. */
export interface TrustDomainRegistry {
  /** Binds the domain to the key unless it is bound; answers the pin it is bound to. Atomic. */
  claim(trustDomain: string, keyPin: string): Promise<string>;
  /** The pin that the domain is bound to. */
  find(trustDomain: string): Promise<string | undefined>;
}

/**
 * Signs the key proved by `request` for `trustDomain`; PEM of the intermediate. Throws
 * `trust-domain-taken`, `invalid-identity`, `invalid-request`, `authority-unavailable`.
 */
export async function signIntermediate(
  deps: {
    random: Random;
    nowMs: () => number;
    authority: Authority;
    registry: TrustDomainRegistry;
  },
  options: { trustDomain: string; request: Uint8Array },
): Promise<string> {
  const { authority, registry } = deps;
  const { trustDomain } = options;
  if (!isTrustDomain(trustDomain) || trustDomain === authority.trustDomain) {
    throw new SkerryError({
      code: "invalid-identity",
      message: `trustDomain: "${trustDomain}" is not a cell's trust domain`,
    });
  }
  const publicKey = await keyOfRequest(options.request);
  const pin = spkiPin(publicKey);
  if ((await registry.claim(trustDomain, pin)) !== pin) {
    throw new SkerryError({
      code: "trust-domain-taken",
      message: `${trustDomain} is already enrolled with another key`,
      hint: "give the cell another name, or remove the old cell from the hub first",
    });
  }
  const issued = issueCertificate(deps, {
    signer: authority.signer,
    publicKey,
    nowMs: deps.nowMs(),
    lifetimeMs: intermediateLifetimeMs,
    shape: {
      kind: "intermediate",
      name: authorityName(trustDomain),
      pathLength: 0,
      trustDomain,
    },
  });
  return toPem(await issued.catch(withoutReason));
}

/** Why it does not sign stands in the hub's log and status: paths of its machine are not for cells. */
function withoutReason(error: unknown): never {
  if (!(error instanceof SkerryError)) throw error;
  throw new SkerryError({
    code: "authority-unavailable",
    message: "the hub cannot sign now: the key of its authority does not answer as it should",
    hint: "the cell tries again by itself, and its token stays good; why: skerry status on the hub",
    retryable: true,
  });
}
