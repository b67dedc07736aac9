/** Name constraints (RFC 5280, 4.2.1.10) for the forms that Skerry issues: URI, DNS and IP. */
import type { Certificate, Names } from "./certificate.ts";

/** What in `names` the authority may not issue; undefined when all of it is allowed. */
export function constraintBroken(names: Names, authority: Certificate): string | undefined {
  const { permitted, excluded } = authority;
  // A form we cannot judge is not allowed, rather than overlooked.
  if ((permitted?.others ?? 0) + (excluded?.others ?? 0) > 0) return "names under unknown limits";
  const forms = [
    { given: names.uris, allow: permitted?.uris, deny: excluded?.uris, matches: uriMatches },
    { given: names.dns, allow: permitted?.dns, deny: excluded?.dns, matches: dnsMatches },
  ];
  for (const { given, allow, deny, matches } of forms) {
    for (const name of given) {
      if (deny?.some((base) => matches(name, base))) return name;
      if (allow && allow.length > 0 && !allow.some((base) => matches(name, base))) return name;
    }
  }
  for (const ip of names.ips) {
    if (excluded?.ips.some((base) => ipMatches(ip, base))) return "this IP address";
    const allow = permitted?.ips ?? [];
    if (allow.length > 0 && !allow.some((base) => ipMatches(ip, base))) return "this IP address";
  }
  return undefined;
}

/** A constraint without a leading dot means this host exactly; with one, any host below it. */
function uriMatches(uri: string, base: string): boolean {
  const host = /^[a-z][a-z0-9+.-]*:\/\/([^/:@?#]+)(?:[/?#]|$)/i.exec(uri)?.[1]?.toLowerCase();
  if (host === undefined) return false;
  const limit = base.toLowerCase();
  return limit.startsWith(".") ? host.endsWith(limit) : host === limit;
}

function dnsMatches(name: string, base: string): boolean {
  const [host, limit] = [name.toLowerCase(), base.toLowerCase().replace(/^\./, "")];
  return limit === "" || host === limit || host.endsWith(`.${limit}`);
}

function ipMatches(ip: Uint8Array, base: Uint8Array): boolean {
  if (base.length !== ip.length * 2) return false;
  return ip.every((byte, index) => {
    const mask = base[ip.length + index] ?? 0;
    return (byte & mask) === ((base[index] ?? 0) & mask);
  });
}
