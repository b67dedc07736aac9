/**
 * SPIFFE ids (SPIFFE-ID 1.0, spiffe.io) as Skerry uses them: `spiffe://DOMAIN/node/NAME`,
 * `/user/NAME`, `/app/NAME`, `/ns/NS/sa/NAME`, and `/hub/main` in the hub's domain. The grammar here
 * is narrower than the standard's (lower-case names, no percent signs), so that an id can be
 * compared as a string and printed anywhere.
 */
import type { Brand } from "../lib/brand.ts";
import { SkerryError } from "../lib/errors.ts";

export type SpiffeId = string & Brand<"SpiffeId">;

/** A parsed id: who somebody is. The same shape as transport's `Peer`. */
export type Subject = {
  readonly id: SpiffeId;
  readonly trustDomain: string;
  /** `["node", "n1"]`, `["ns", "shop", "sa", "web"]` */
  readonly path: readonly string[];
};

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const domainPattern = new RegExp(`^${label}(?:\\.${label})+$`);
const namePattern = /^[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?$/;
const cellPattern = new RegExp(`^${label}(?:\\.${label})*$`);
/** The standard's limit (SPIFFE-ID 1.0, section 2.4). */
const idCharactersMax = 2048;

/** The parts of an id, or undefined when it is not one that Skerry issues. */
export function parseSpiffeId(uri: string): Subject | undefined {
  if (uri.length > idCharactersMax || !uri.startsWith("spiffe://")) return undefined;
  const [trustDomain = "", ...path] = uri.slice("spiffe://".length).split("/");
  if (!isTrustDomain(trustDomain) || !path.every((part) => namePattern.test(part)))
    return undefined;
  const known =
    (path.length === 2 && ["node", "user", "app", "hub"].includes(path[0] ?? "")) ||
    (path.length === 4 && path[0] === "ns" && path[2] === "sa");
  return known ? { id: uri as SpiffeId, trustDomain, path } : undefined;
}

/** Throws `invalid-identity` naming the part that is wrong. */
export function spiffeId(trustDomain: string, ...path: string[]): Subject {
  const uri = `spiffe://${[trustDomain, ...path].join("/")}`;
  const subject = parseSpiffeId(uri);
  if (subject) return subject;
  const bad = isTrustDomain(trustDomain)
    ? (path.find((part) => !namePattern.test(part)) ?? path.join("/"))
    : trustDomain;
  throw new SkerryError({
    code: "invalid-identity",
    message: `"${bad}" cannot stand in an identity`,
    hint: "use lower-case letters, digits and dashes, beginning and ending with a letter or digit",
  });
}

export function isTrustDomain(text: string): boolean {
  return text.length <= 253 && domainPattern.test(text);
}

/** `cell-a` to `cell-a.skerry`. Throws `invalid-identity`. */
export function trustDomainOf(cell: string): string {
  const domain = `${cell}.skerry`;
  if (cellPattern.test(cell) && isTrustDomain(domain)) return domain;
  throw new SkerryError({
    code: "invalid-identity",
    message: `cell: "${cell}" is not a cell name`,
    hint: "use lower-case letters, digits and dashes, as in a host name",
  });
}
