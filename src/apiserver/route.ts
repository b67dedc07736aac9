/** From method, path and query to what is asked of which resource. Pure. */
import type { KindDefinition } from "../api/index.ts";
import type { Verb } from "../authorization/index.ts";
import type { KindIndex } from "./kind-index.ts";
import { badRequest, failure } from "./status.ts";

export type ResourceRoute = {
  readonly kind: KindDefinition;
  readonly verb: Verb;
  readonly namespace?: string;
  /** Absent for a collection. */
  readonly name?: string;
  readonly subresource?: KindDefinition["subresources"][number];
};

export type PathParts = {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
};

/** Undefined when the path is not below a group and version. */
export function splitPath(path: string): PathParts | undefined {
  const segments = path
    .split("/")
    .filter((segment) => segment !== "")
    .map(decodeSegment);
  const isCore = segments[0] === "api";
  if (!isCore && segments[0] !== "apis") return undefined;
  const [group = "", version, ...rest] = isCore ? ["", ...segments.slice(1)] : segments.slice(1);
  if (version === undefined || rest.length === 0) return undefined;
  const base = { group, version };
  const [first = "", second, third, ...more] = rest;
  // `namespaces/NAME/status` is about the namespace, `namespaces/NAME/pods` about what is in it.
  if (first === "namespaces" && third !== undefined && third !== "status") {
    const [name, subresource, ...surplus] = more;
    if (surplus.length > 0) return undefined;
    return { ...base, plural: third, namespace: second, name, subresource };
  }
  if (more.length > 0) return undefined;
  return { ...base, plural: first, name: second, subresource: third };
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest(`the path segment "${segment}" is not valid percent encoding`);
  }
}

/** Throws StatusError: 404 for what nobody serves, 405 for a verb that it does not have. */
export function resolveRoute(
  index: KindIndex,
  parts: PathParts,
  method: string,
  query: URLSearchParams,
): ResourceRoute {
  const kind = index.byPath(parts.group, parts.version, parts.plural);
  if (!kind || (!kind.namespaced && parts.namespace !== undefined)) {
    throw failure("NotFound", "the server could not find the requested resource");
  }
  const subresource = kind.subresources.find((known) => known === parts.subresource);
  if (parts.subresource !== undefined && subresource === undefined) {
    throw failure("NotFound", `${kind.plural} have no subresource "${parts.subresource}"`);
  }
  const { namespace, name } = parts;
  if (kind.namespaced && namespace === undefined && (name !== undefined || method === "POST")) {
    throw failure("NotFound", `${kind.plural} belong to a namespace, and the path names none`);
  }
  const verb = verbOf(method, { name, subresource, isWatch: isTrue(query.get("watch")) });
  if (verb === undefined) {
    const what = [kind.plural, subresource].filter((part) => part !== undefined).join("/");
    throw failure("MethodNotAllowed", `${method} is not allowed on ${what}`);
  }
  return { kind, verb, namespace, name, subresource };
}

function verbOf(
  method: string,
  at: { name: string | undefined; subresource: string | undefined; isWatch: boolean },
): Verb | undefined {
  if (at.subresource === "log") return method === "GET" ? "get" : undefined;
  if (at.subresource === "eviction") return method === "POST" ? "create" : undefined;
  switch (method) {
    case "GET":
      if (at.isWatch && at.subresource === undefined) return "watch";
      return at.name === undefined ? "list" : "get";
    case "POST":
      return at.name === undefined ? "create" : undefined;
    case "PUT":
      return at.name === undefined ? undefined : "update";
    case "PATCH":
      return at.name === undefined ? undefined : "patch";
    case "DELETE":
      if (at.subresource !== undefined) return undefined;
      return at.name === undefined ? "deletecollection" : "delete";
    default:
      return undefined;
  }
}

export const isTrue = (text: string | null) => text === "true" || text === "1";
