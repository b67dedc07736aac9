/**
 * Which history of a cell holds, signed with the cell's authority: left by a restore, passed on by any
 * node, believed by all. Without it a server that comes back with an old ledger would serve it.
 */
import { sign, verify } from "node:crypto";
import { readCertificatesPem } from "./certificates/certificate.ts";
import type { Trust } from "./credentials.ts";

export type HistoryClaim = {
  readonly trustDomain: string;
  /** Of the revisions; see `lib/history.ts`. */
  readonly generation: number;
  readonly epoch: string;
  /** When it began, milliseconds since 1970. */
  readonly atMs: number;
  /** The server that holds it. */
  readonly node: string;
  /** Its API, HOST:PORT. */
  readonly api: string;
};

export type SignedHistory = { readonly claim: HistoryClaim; readonly signature: string };

const context = "skerry-history/1\n";
const bytesOf = ({ trustDomain, generation, epoch, atMs, node, api }: HistoryClaim) =>
  Buffer.from(context + JSON.stringify([trustDomain, generation, epoch, atMs, node, api]));

/** `keyPem`: the authority's own. */
export function signHistory(keyPem: string, claim: HistoryClaim): SignedHistory {
  return { claim, signature: sign("sha256", bytesOf(claim), keyPem).toString("base64url") };
}

/** Undefined for anything that the cell's authority did not sign. */
export function verifyHistory(trust: Trust, value: unknown): SignedHistory | undefined {
  const { claim, signature } = (value ?? {}) as Partial<SignedHistory>;
  const isWhole =
    claim !== undefined &&
    typeof signature === "string" &&
    claim.trustDomain === trust.trustDomain &&
    [claim.generation, claim.atMs].every(Number.isSafeInteger) &&
    [claim.epoch, claim.node, claim.api].every((text) => typeof text === "string");
  if (!isWhole) return undefined;
  const given = Buffer.from(signature, "base64url");
  const isSigned = trust.anchorsPem
    .flatMap(readCertificatesPem)
    .some(({ publicKey }) => verify("sha256", bytesOf(claim), publicKey, given));
  return isSigned ? { claim, signature } : undefined;
}

/** Whether `claim` comes after what is known; of two at once the later one, by the clock. */
export const isLater = (claim: HistoryClaim, known: HistoryClaim | undefined): boolean =>
  known === undefined ||
  claim.generation > known.generation ||
  (claim.generation === known.generation && claim.epoch !== known.epoch && claim.atMs > known.atMs);
