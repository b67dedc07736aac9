export {
  anchorLifetimeMs,
  createAuthority,
  intermediateLifetimeMs,
  leafLifetimeMs,
  openAuthority,
  type Authority,
  type AuthorityDeps,
  type ServingNames,
} from "./ca/authority.ts";
export { signIntermediate, type TrustDomainRegistry } from "./ca/hub-authority.ts";
export {
  readCertificate,
  readCertificatesPem,
  toPem,
  type Certificate,
} from "./certificates/certificate.ts";
export { createRequest, generateKeyPem, publicKeyOf, spkiPin } from "./certificates/keys.ts";
export {
  spiffeIdOf,
  verifyAgainst,
  verifyCertificates,
  verifyChain,
  verifyServing,
  type Refusal,
  type RefusalReason,
  type Validity,
  type Verdict,
  type VerifyOptions,
} from "./certificates/verify-chain.ts";
export type { Credentials, Trust } from "./credentials.ts";
export {
  isTrustDomain,
  parseSpiffeId,
  spiffeId,
  trustDomainOf,
  type SpiffeId,
  type Subject,
} from "./spiffe.ts";
export { chainOf, clientTlsOptions, serverTlsOptions, verifyPeer, verifyServer } from "./tls.ts";
