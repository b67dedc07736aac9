export {
  anchorLifetimeMs,
  authorityPath,
  createAuthority,
  intermediateLifetimeMs,
  leafLifetimeMs,
  openAuthority,
  type Authority,
  type AuthorityDeps,
  type FolderAuthority,
  type ServingNames,
} from "./ca/authority.ts";
export {
  acceptHandover,
  dropAuthorities,
  readHandover,
  recoveryKeyPath,
  type Handover,
} from "./ca/handover.ts";
export {
  ensureLedgerAuthority,
  ledgerCommonName,
  ledgerLeafIsDue,
  ledgerServerName,
  openLedgerAuthority,
  witnessLeafLifetimeMs,
  type LedgerAuthority,
} from "./ca/ledger-authority.ts";
export {
  keptKeyReference,
  openReferredAuthority,
  readAuthorityPin,
} from "./ca/referred-authority.ts";
export { keepChecking, type KeyFailure, type WatchedKey } from "./ca/watched-key.ts";
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
export { keepOwnCredentials, type OwnCredentials } from "./ca/own-credentials.ts";
export { openCellTime, type CellTime } from "./certificates/cell-time.ts";
export { knownTimeMs } from "./certificates/known-time.ts";
export {
  openNodeIdentity,
  prepareJoin,
  trustRequest,
  type NodeIdentity,
  type PreparedEnrolment,
} from "./certificates/node-identity.ts";
export { startRenewal, type Renewal, type RenewalDeps } from "./certificates/renewal.ts";
export {
  acceptCellAnswer,
  cellRequest,
  createCellEnrolment,
  intermediateIsDue,
  type CellEnrolmentDeps,
} from "./enrolment/cell-enrolment.ts";
export {
  isLater,
  signHistory,
  verifyHistory,
  type HistoryClaim,
  type SignedHistory,
} from "./history.ts";
export type { HubTrust } from "./enrolment/messages.ts";
export { createNodeEnrolment, type NodeEnrolmentDeps } from "./enrolment/node-enrolment.ts";
export {
  createAppTokenVerifier,
  mintAppToken,
  verifyAppToken,
  type AppTokenVerdict,
  type AppTokenVerifier,
} from "./tokens/app-token.ts";
export {
  createJoinToken,
  joinTokenLifetimeMs,
  parseJoinToken,
  redeemJoinToken,
  type JoinToken,
} from "./tokens/join-token.ts";
export { parseTokenRequest } from "./tokens/token-request.ts";
export {
  createLedgerTokenStore,
  parseKeptToken,
  putToken,
  readFolderTokens,
  takeOverTokens,
  tokensPrefix,
  type KeptToken,
  type TokenLedger,
} from "./tokens/ledger-tokens.ts";
export type { TokenRecord, TokenStore } from "./tokens/token-store.ts";
