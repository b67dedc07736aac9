/**
 * What is said over `skerry-enrol/1`: JSON, one request, one answer. The channel is pinned to the
 * authority by the joiner; the server believes nothing but tokens and signatures.
 */
import { isIP } from "node:net";
import { SkerryError } from "../../lib/errors.ts";
import type { Trust } from "../credentials.ts";

/** Certificate requests are base64 of DER. */
export type EnrolRequest =
  | {
      readonly kind: "join-node";
      readonly token: string;
      readonly node: string;
      /** Addresses that the node serves under. */
      readonly addresses: readonly string[];
      readonly identityRequest: string;
      readonly servingRequest: string;
    }
  /** The old identity's chain, expired or not; its key signed `renewalText`. */
  | {
      readonly kind: "renew-node";
      readonly chainPem: string;
      readonly signature: string;
      readonly addresses: readonly string[];
      readonly identityRequest: string;
      readonly servingRequest: string;
    }
  /** What anybody may know: anchors, and the hub's certificate for this authority. */
  | { readonly kind: "trust" }
  /** At the hub: the key of a cell's authority, proved by its request. */
  | {
      readonly kind: "join-cell";
      readonly token: string;
      readonly cell: string;
      readonly request: string;
    }
  | { readonly kind: "renew-cell"; readonly cell: string; readonly request: string };

export type HubTrust = {
  /** The hub's certificate for the cell's authority, PEM. */
  readonly intermediatePem: string;
  readonly trust: Trust;
};

export type TrustAnswer = {
  readonly trust: Trust;
  readonly hub?: HubTrust;
  /** The server's time, milliseconds since 1970. */
  readonly nowMs: number;
};

export type NodeAnswer = TrustAnswer & {
  /** HOST:PORT of the API of the server that answered: where a fresh node finds desired state. */
  readonly apiAddress?: string;
  readonly identityChainPem: string;
  readonly servingChainPem: string;
};

export type CellAnswer = HubTrust & { readonly nowMs: number };

const fieldsByKind: Readonly<Record<EnrolRequest["kind"], readonly string[]>> = {
  "join-node": ["token", "node", "identityRequest", "servingRequest"],
  "renew-node": ["chainPem", "signature", "identityRequest", "servingRequest"],
  trust: [],
  "join-cell": ["token", "cell", "request"],
  "renew-cell": ["cell", "request"],
};
const addressesMax = 8;

/** Throws `invalid-enrolment` naming the field. */
export function decodeRequest(bytes: Uint8Array): EnrolRequest {
  const request = parseObject(bytes);
  const kind = request["kind"];
  if (typeof kind !== "string" || !Object.hasOwn(fieldsByKind, kind))
    throw invalid("kind", `"${String(kind)}" is none of ${Object.keys(fieldsByKind).join(", ")}`);
  const fields = fieldsByKind[kind as EnrolRequest["kind"]];
  for (const field of fields) {
    const value = request[field];
    if (typeof value !== "string" || value === "") throw invalid(field, "a text is missing");
  }
  if (kind === "join-node" || kind === "renew-node") {
    const addresses = request["addresses"];
    const valid =
      Array.isArray(addresses) &&
      addresses.length <= addressesMax &&
      addresses.every((address) => typeof address === "string" && isIP(address) !== 0);
    if (!valid) throw invalid("addresses", `not a list of at most ${addressesMax} IP addresses`);
  }
  return request as EnrolRequest;
}

/** An answer of the fields named. Throws `invalid-enrolment`. */
export function decodeAnswer<Answer extends { readonly nowMs: number }>(
  bytes: Uint8Array,
  fields: readonly (keyof Answer & string)[],
): Answer {
  const answer = parseObject(bytes);
  for (const field of fields)
    if (answer[field] === undefined) throw invalid(field, "the answer lacks it");
  return answer as Answer;
}

export const encodeMessage = (message: EnrolRequest | TrustAnswer | CellAnswer): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(message));

/** What the old key signs: the new keys, under a name of its own so that it is good for nothing else. */
export const renewalText = (request: { identityRequest: string; servingRequest: string }) =>
  Buffer.from(`skerry-renew/1\n${request.identityRequest}\n${request.servingRequest}`);

export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
export const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-enrolment",
      message: "the enrolment message is not JSON",
      cause,
    });
  }
  if (typeof value !== "object" || value === null) throw invalid("message", "not an object");
  return value as Record<string, unknown>;
}

function invalid(field: string, problem: string): SkerryError {
  return new SkerryError({ code: "invalid-enrolment", message: `${field}: ${problem}` });
}
