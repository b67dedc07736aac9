/**
 * Headers on their way through a proxy (RFC 9110, section 7.6): what belongs to one connection stays
 * there, where a request came from is written down once, and nobody outside can speak as the mesh.
 */
import type { IncomingHttpHeaders } from "node:http";

/** Names the pod's `ip:port` to the mesh port of its node. */
export const endpointHeader = "skerry-endpoint";
/** In place of an address: is the proxy there, and does it take requests? */
export const pingEndpoint = "ping";
/** On answers of the mesh itself: why it did not pass the request on. */
export const meshErrorHeader = "skerry-mesh-error";

const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const ours = new Set([endpointHeader, meshErrorHeader]);

type Pairs = readonly string[];

/**
 * Request headers to send on, as a flat list of names and values. At the ingress the `x-forwarded-`
 * headers and `forwarded` are written anew: a client could write anything there.
 */
export function requestHeaders(
  raw: Pairs,
  options:
    | { readonly at: "ingress"; readonly remoteAddress: string; readonly host: string }
    | { readonly at: "mesh" },
): string[] {
  const dropped = namedByConnection(raw);
  const headers: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? "").toLowerCase();
    // `expect` was answered by this hop; the next one gets the body at once.
    if (hopByHop.has(name) || dropped.has(name) || name === "expect") continue;
    if (ours.has(name)) continue;
    if (options.at === "ingress" && (name === "forwarded" || name.startsWith("x-forwarded-")))
      continue;
    headers.push(raw[i] ?? "", raw[i + 1] ?? "");
  }
  if (options.at === "ingress") {
    headers.push("x-forwarded-for", options.remoteAddress);
    headers.push("x-forwarded-proto", "http");
    headers.push("x-forwarded-host", options.host);
  }
  return headers;
}

/** Response headers to send back; without what an application may not say in the mesh's name. */
export function responseHeaders(
  headers: IncomingHttpHeaders | Record<string, string | string[] | undefined>,
): Record<string, string | string[]> {
  const dropped = new Set(listOf(headers["connection"]));
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || hopByHop.has(name) || dropped.has(name)) continue;
    if (ours.has(name)) continue;
    kept[name] = value;
  }
  return kept;
}

/** undici's `upgrade` takes no flat list; names that come twice are joined as RFC 9110 allows. */
export function pairsToRecord(pairs: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const name = (pairs[i] ?? "").toLowerCase();
    const before = record[name];
    record[name] = before === undefined ? (pairs[i + 1] ?? "") : `${before}, ${pairs[i + 1]}`;
  }
  return record;
}

function namedByConnection(raw: Pairs): Set<string> {
  const names = new Set<string>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if ((raw[i] ?? "").toLowerCase() !== "connection") continue;
    for (const name of listOf(raw[i + 1])) names.add(name);
  }
  return names;
}

function listOf(value: string | string[] | undefined): string[] {
  return [value ?? []]
    .flat()
    .flatMap((part) => part.split(","))
    .map((name) => name.trim().toLowerCase());
}
