/** A server's side of joining and renewing nodes: a function from request to answer. */
import { verify } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import type { Authority } from "../ca/authority.ts";
import { keyOfRequest } from "../ca/issue.ts";
import { readCertificatesPem } from "../certificates/certificate.ts";
import { spkiPin } from "../certificates/keys.ts";
import { verifyCertificates } from "../certificates/verify-chain.ts";
import { spiffeId, type Subject } from "../spiffe.ts";
import { redeemJoinToken } from "../tokens/join-token.ts";
import type { TokenRecord, TokenStore } from "../tokens/token-store.ts";
import {
  decodeRequest,
  encodeMessage,
  fromBase64,
  renewalText,
  type EnrolRequest,
  type NodeAnswer,
  type TrustAnswer,
} from "./messages.ts";

export type NodeEnrolmentDeps = {
  readonly authority: Authority;
  readonly tokens: TokenStore;
  readonly nowMs: () => number;
  /** HOST:PORT of this server's API. */
  readonly apiAddress?: () => string;
  /** False for a node that was removed from the cell. */
  readonly mayRenew?: (node: Subject) => Promise<boolean>;
  /** Called after a node was let in, before it is told. */
  readonly onJoined?: (node: Subject, token: Pick<TokenRecord, "server">) => void | Promise<void>;
};

type Renewal = Extract<EnrolRequest, { kind: "renew-node" }>;
type Join = Extract<EnrolRequest, { kind: "join-node" }>;

/**
 * The handler for transport's `enrol`. Throws `invalid-enrolment`, the errors of `redeemJoinToken`,
 * `invalid-identity`, `invalid-request`, `renewal-refused`.
 */
export function createNodeEnrolment(
  deps: NodeEnrolmentDeps,
): (request: Uint8Array) => Promise<Uint8Array> {
  const { authority } = deps;
  return async (bytes) => {
    const request = decodeRequest(bytes);
    switch (request.kind) {
      case "trust":
        return encodeMessage(trustAnswer(deps));
      case "join-node": {
        const subject = spiffeId(authority.trustDomain, "node", request.node);
        // Judged before the token is spent: a bad request costs nobody a token.
        const key = await keyOfRequest(fromBase64(request.identityRequest));
        await keyOfRequest(fromBase64(request.servingRequest));
        const token = await redeemJoinToken(
          { store: deps.tokens, nowMs: deps.nowMs },
          {
            token: request.token,
            trustDomain: authority.trustDomain,
            name: request.node,
            by: spkiPin(key),
          },
        );
        const answer = await issue(deps, subject, request);
        await deps.onJoined?.(subject, token);
        return encodeMessage(answer);
      }
      case "renew-node":
        return encodeMessage(await issue(deps, await judgeRenewal(deps, request), request));
      case "join-cell":
      case "renew-cell":
        throw new SkerryError({
          code: "invalid-enrolment",
          message: `kind: "${request.kind}" is for a hub, and this is a cell`,
        });
    }
  };
}

/** The subject of a stored key that asks for new leaves, whether or not its old one ran out. */
async function judgeRenewal(deps: NodeEnrolmentDeps, request: Renewal): Promise<Subject> {
  const certificates = readCertificatesPem(request.chainPem);
  const verdict = verifyCertificates(certificates, deps.authority.trust, deps.nowMs(), {
    time: "ignore-expiry",
  });
  const refuse = (message: string) =>
    new SkerryError({
      code: "renewal-refused",
      message,
      hint: "join the node again with a new token",
    });
  if (!verdict.ok) throw refuse(verdict.message);
  const { subject, leaf } = verdict;
  const key = { key: leaf.publicKey, dsaEncoding: "ieee-p1363" as const };
  const isSigned = verify("sha256", renewalText(request), key, fromBase64(request.signature));
  if (!isSigned || subject.path[0] !== "node")
    throw refuse(`${subject.id}: the request is not signed by its key`);
  if ((await deps.mayRenew?.(subject)) === false)
    throw refuse(`${subject.id} is no longer a node of this cell`);
  return subject;
}

async function issue(
  deps: NodeEnrolmentDeps,
  subject: Subject,
  request: Join | Renewal,
): Promise<NodeAnswer> {
  const { authority } = deps;
  const [, node = ""] = subject.path;
  const { trustDomain } = authority;
  return {
    ...trustAnswer(deps),
    ...(deps.apiAddress && { apiAddress: deps.apiAddress() }),
    identityChainPem: await authority.issueIdentity(fromBase64(request.identityRequest), subject),
    servingChainPem: await authority.issueServing(fromBase64(request.servingRequest), {
      dns: [`${node}.${trustDomain}`, `api.${trustDomain}`],
      ips: request.addresses,
    }),
  };
}

function trustAnswer({ authority, nowMs }: NodeEnrolmentDeps): TrustAnswer {
  return {
    trust: authority.trust,
    ...(authority.hub && { hub: authority.hub }),
    nowMs: nowMs(),
  };
}
