/**
 * A node's keys and certificates in its `identity/` folder: one record, so that key and certificate
 * never disagree, replaced as a whole. Keys are made here and never leave. Whoever holds a copy of
 * what is in here is told by `onChange` when it was renewed.
 */
import { createPrivateKey, sign } from "node:crypto";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { ensureDirectory, readRecord, writeRecord } from "../../runtime/files/index.ts";
import type { Credentials, Trust } from "../credentials.ts";
import {
  decodeAnswer,
  encodeMessage,
  renewalText,
  toBase64,
  type NodeAnswer,
  type TrustAnswer,
} from "../enrolment/messages.ts";
import { spiffeId, type Subject } from "../spiffe.ts";
import { readCertificatesPem, toPem } from "./certificate.ts";
import { createRequest, generateKeyPem, publicKeyOf, spkiPin } from "./keys.ts";
import { verifyCertificates } from "./verify-chain.ts";

export interface NodeIdentity {
  readonly subject: Subject;
  /** Exactly one SPIFFE id; for peers and the hub. */
  readonly identity: Credentials;
  /** DNS and IP names; for kubectl and browsers, never sent to the hub. */
  readonly serving: Credentials;
  /** The cell's own anchors. */
  readonly trust: Trust;
  /** The hub's anchors, once the cell is enrolled. */
  readonly hubTrust: Trust | undefined;
  /** The cell's, and the hub's when there is one: whom links may come from or lead to. */
  readonly trusts: readonly Trust[];
  /** Pins of the cell's authority, for `enrol` when renewing. */
  readonly pins: readonly string[];
  /** The identity leaf in DER, as beats carry it. */
  readonly leaf: Uint8Array;
  readonly validFromMs: number;
  readonly validUntilMs: number;
  /** Half of the leaf's life: from then on it should be renewed. */
  readonly renewAtMs: number;
  /** IP addresses that the node serves under. */
  readonly addresses: readonly string[];
  /** A request for new leaves, signed by the key of the old one; `addresses` replace those of before. */
  prepareRenewal(options?: { addresses?: readonly string[] }): Promise<PreparedEnrolment>;
  /** Takes a `trust` answer: new anchors, the hub's certificate. True when something changed. */
  acceptTrust(answer: Uint8Array): boolean;
  onChange(listener: () => void): () => void;
}

export type PreparedEnrolment = {
  readonly request: Uint8Array;
  /** Keeps the answer durably. Throws `invalid-enrolment` when it is not for these keys. */
  accept(answer: Uint8Array): { readonly nowMs: number; readonly apiAddress?: string };
};

type Stored = {
  readonly version: 1;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly identity: Credentials;
  readonly serving: Credentials;
  readonly trust: Trust;
  readonly hubTrust?: Trust;
};

const recordPath = (folder: string) => join(folder, "node.json");

/** Asks for anchors and the hub's certificate: what anybody may know. */
export const trustRequest = (): Uint8Array => encodeMessage({ kind: "trust" });

/** The identity in `folder`; undefined when the node has not joined. Throws `file-torn`. */
export function openNodeIdentity(folder: string): NodeIdentity | undefined {
  const stored = readRecord(recordPath(folder)) as Stored | undefined;
  return stored && nodeIdentity(folder, stored);
}

/**
 * The first request of a node, spending `token`. After `accept` the folder holds its identity:
 * `openNodeIdentity` reads it. Keys live in memory only until then: a failed join leaves nothing.
 */
export async function prepareJoin(options: {
  folder: string;
  token: string;
  node: string;
  /** IP addresses that the node serves under. */
  addresses: readonly string[];
}): Promise<PreparedEnrolment> {
  const { folder, token, node, addresses } = options;
  const keys = await freshKeys();
  return {
    request: encodeMessage({ kind: "join-node", token, node, addresses, ...keys.requests }),
    accept(answer) {
      const { stored, nowMs, apiAddress } = storedFrom(answer, { node, addresses, ...keys });
      ensureDirectory(folder);
      writeRecord(recordPath(folder), stored);
      return { nowMs, ...(apiAddress === undefined ? {} : { apiAddress }) };
    },
  };
}

async function freshKeys() {
  const [identityKey, servingKey] = [generateKeyPem(), generateKeyPem()];
  return {
    identityKey,
    servingKey,
    requests: {
      identityRequest: toBase64(await createRequest(identityKey)),
      servingRequest: toBase64(await createRequest(servingKey)),
    },
  };
}

/** An answer that would lock the node out is refused before it replaces what works. */
function storedFrom(
  answer: Uint8Array,
  own: {
    node: string;
    addresses: readonly string[];
    identityKey: string;
    servingKey: string;
  },
): { stored: Stored; nowMs: number; apiAddress: string | undefined } {
  const fields = decodeAnswer<NodeAnswer>(answer, [
    "trust",
    "identityChainPem",
    "servingChainPem",
    "nowMs",
  ]);
  const { trust, hub, identityChainPem, servingChainPem, nowMs, apiAddress } = fields;
  const chain = readCertificatesPem(identityChainPem);
  const verdict = verifyCertificates(chain, trust, nowMs);
  const [servingLeaf] = readCertificatesPem(servingChainPem);
  const isFor = (leaf: typeof servingLeaf, keyPem: string) =>
    leaf &&
    Buffer.compare(leaf.publicKey.export({ type: "spki", format: "der" }), publicKeyOf(keyPem)) ===
      0;
  const problem = !verdict.ok
    ? verdict.message
    : verdict.subject.path.join("/") !== `node/${own.node}`
      ? `it is for ${verdict.subject.id}`
      : !isFor(verdict.leaf, own.identityKey) || !isFor(servingLeaf, own.servingKey)
        ? "it is for another key"
        : undefined;
  if (problem !== undefined) {
    throw new SkerryError({
      code: "invalid-enrolment",
      message: `the answer to the enrolment cannot be used: ${problem}`,
    });
  }
  return {
    nowMs,
    apiAddress: typeof apiAddress === "string" ? apiAddress : undefined,
    stored: {
      version: 1,
      node: own.node,
      addresses: own.addresses,
      identity: { keyPem: own.identityKey, chainPem: identityChainPem },
      serving: { keyPem: own.servingKey, chainPem: servingChainPem },
      trust,
      ...(hub && { hubTrust: hub.trust }),
    },
  };
}

function nodeIdentity(folder: string, initial: Stored): NodeIdentity {
  const listeners = new Set<() => void>();
  let current = describe(initial);
  const replace = (stored: Stored) => {
    const next = describe(stored);
    writeRecord(recordPath(folder), stored);
    current = next;
    // What is renewed is on disk: one who cannot take it must not keep it from the others.
    const failures = [...listeners].flatMap((listener) => {
      try {
        listener();
        return [];
      } catch (error) {
        return [error];
      }
    });
    if (failures.length > 0)
      throw new AggregateError(failures, "not every part took the renewed certificates");
  };
  return {
    get subject() {
      return current.subject;
    },
    get identity() {
      return current.stored.identity;
    },
    get serving() {
      return current.stored.serving;
    },
    get trust() {
      return current.stored.trust;
    },
    get hubTrust() {
      return current.stored.hubTrust;
    },
    get trusts() {
      return current.trusts;
    },
    get pins() {
      return current.pins;
    },
    get leaf() {
      return current.leaf;
    },
    get validFromMs() {
      return current.validFromMs;
    },
    get validUntilMs() {
      return current.validUntilMs;
    },
    get renewAtMs() {
      return current.renewAtMs;
    },
    get addresses() {
      return current.stored.addresses;
    },
    async prepareRenewal(options = {}) {
      const { node, identity } = current.stored;
      const addresses = options.addresses ?? current.stored.addresses;
      const keys = await freshKeys();
      const signature = sign("sha256", renewalText(keys.requests), {
        key: createPrivateKey(identity.keyPem),
        dsaEncoding: "ieee-p1363",
      });
      return {
        request: encodeMessage({
          kind: "renew-node",
          chainPem: identity.chainPem,
          signature: toBase64(signature),
          addresses,
          ...keys.requests,
        }),
        accept(answer) {
          const { stored, nowMs } = storedFrom(answer, { node, addresses, ...keys });
          replace(stored);
          return { nowMs };
        },
      };
    },
    acceptTrust(answer) {
      const { trust, hub } = decodeAnswer<TrustAnswer>(answer, ["trust", "nowMs"]);
      const { stored, leaf } = current;
      const chainPem = toPem(leaf) + (hub?.intermediatePem ?? "");
      const next: Stored = {
        ...stored,
        trust,
        identity: { ...stored.identity, chainPem },
        ...(hub && { hubTrust: hub.trust }),
      };
      if (JSON.stringify(next) === JSON.stringify(stored)) return false;
      // Not a question of time: the leaf may have run out, or the clock never been set.
      const verdict = verifyCertificates(
        readCertificatesPem(chainPem),
        trust,
        current.validUntilMs,
        { time: "ignore-expiry" },
      );
      if (!verdict.ok) {
        throw new SkerryError({
          code: "invalid-enrolment",
          message: `the new trust would not hold this node's own leaf: ${verdict.message}`,
        });
      }
      replace(next);
      return true;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function describe(stored: Stored) {
  const [leaf] = readCertificatesPem(stored.identity.chainPem);
  if (!leaf)
    throw new SkerryError({ code: "certificate-unreadable", message: "no identity certificate" });
  const { trust, hubTrust } = stored;
  return {
    stored,
    subject: spiffeId(trust.trustDomain, "node", stored.node),
    leaf: leaf.der,
    trusts: hubTrust ? [trust, hubTrust] : [trust],
    pins: trust.anchorsPem
      .flatMap(readCertificatesPem)
      .map(({ publicKey }) => spkiPin(publicKey.export({ type: "spki", format: "der" }))),
    validFromMs: leaf.notBeforeMs,
    validUntilMs: leaf.notAfterMs,
    renewAtMs: leaf.notBeforeMs + (leaf.notAfterMs - leaf.notBeforeMs) / 2,
  };
}
