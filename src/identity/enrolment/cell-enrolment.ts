/** Cells at the hub: the hub's side as a function from request to answer, and the cell's messages. */
import type { Random } from "../../lib/random.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Authority, FolderAuthority } from "../ca/authority.ts";
import { signIntermediate, type TrustDomainRegistry } from "../ca/hub-authority.ts";
import { keyOfRequest } from "../ca/issue.ts";
import { readCertificatesPem } from "../certificates/certificate.ts";
import { createRequest, spkiPin } from "../certificates/keys.ts";
import { trustDomainOf } from "../spiffe.ts";
import { redeemJoinToken } from "../tokens/join-token.ts";
import type { TokenStore } from "../tokens/token-store.ts";
import {
  decodeAnswer,
  decodeRequest,
  encodeMessage,
  fromBase64,
  toBase64,
  type CellAnswer,
} from "./messages.ts";

export type CellEnrolmentDeps = {
  readonly authority: Authority;
  readonly tokens: TokenStore;
  readonly registry: TrustDomainRegistry;
  readonly random: Random;
  readonly nowMs: () => number;
  readonly onJoined?: (cell: { name: string; trustDomain: string }) => void | Promise<void>;
};

/**
 * The handler for the hub's `enrol`. Throws `invalid-enrolment`, the errors of `redeemJoinToken` and
 * of `signIntermediate`, `renewal-refused`.
 */
export function createCellEnrolment(
  deps: CellEnrolmentDeps,
): (request: Uint8Array) => Promise<Uint8Array> {
  const { authority } = deps;
  return async (bytes) => {
    const request = decodeRequest(bytes);
    if (request.kind !== "join-cell" && request.kind !== "renew-cell") {
      throw new SkerryError({
        code: "invalid-enrolment",
        message: `kind: "${request.kind}" is for a cell, and this is a hub`,
      });
    }
    const trustDomain = trustDomainOf(request.cell);
    const key = fromBase64(request.request);
    const pin = spkiPin(await keyOfRequest(key));
    if (request.kind === "join-cell") {
      await redeemJoinToken(
        { store: deps.tokens, nowMs: deps.nowMs },
        {
          token: request.token,
          trustDomain: authority.trustDomain,
          name: request.cell,
          by: pin,
        },
      );
    } else if ((await deps.registry.find(trustDomain)) !== pin) {
      throw new SkerryError({
        code: "renewal-refused",
        message: `${trustDomain} is not enrolled here with this key`,
        hint: "enrol the cell again with a new token of the hub",
      });
    }
    const intermediatePem = await signIntermediate(deps, { trustDomain, request: key });
    await deps.onJoined?.({ name: request.cell, trustDomain });
    return encodeMessage({ intermediatePem, trust: authority.trust, nowMs: deps.nowMs() });
  };
}

const cellOf = (authority: Authority) => authority.trustDomain.replace(/\.skerry$/, "");

/** A cell's request to the hub: with a token to enrol, without one to renew. */
export async function cellRequest(
  authority: FolderAuthority,
  options: { token?: string } = {},
): Promise<Uint8Array> {
  const common = {
    cell: cellOf(authority),
    request: toBase64(await createRequest(authority.signer.key.keyPem)),
  };
  return encodeMessage(
    options.token === undefined
      ? { kind: "renew-cell", ...common }
      : { kind: "join-cell", token: options.token, ...common },
  );
}

/** Takes the hub's answer into the authority's folder; gives the hub's time. Throws `invalid-enrolment`, `invalid-intermediate`. */
export function acceptCellAnswer(authority: Authority, answer: Uint8Array): { nowMs: number } {
  const { intermediatePem, trust, nowMs } = decodeAnswer<CellAnswer>(answer, [
    "intermediatePem",
    "trust",
    "nowMs",
  ]);
  authority.setHub({ intermediatePem, trust });
  return { nowMs };
}

/** From the first third of its life on an intermediate should be renewed; true as well when there is none. */
export function intermediateIsDue(authority: Authority, nowMs: number): boolean {
  const [certificate] = authority.hub ? readCertificatesPem(authority.hub.intermediatePem) : [];
  if (!certificate) return true;
  const { notBeforeMs, notAfterMs } = certificate;
  return nowMs > notBeforeMs + (notAfterMs - notBeforeMs) / 3;
}
