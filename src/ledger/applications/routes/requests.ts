/** What each route makes of a request; judged afterwards by the schemas of `coordination.ts`. */
import type { HttpRequest } from "../../../runtime/http/index.ts";
import type { ClaimKind } from "../coordination.ts";
import { fenceOf, flag, lastEventOf, parseQuery, preconditionOf, wholeNumber } from "./parse.ts";

export const parameter = ({ params }: HttpRequest, name: string) =>
  (params as Readonly<Record<string, string>>)[name];

export const getRequest = (request: HttpRequest) => ({
  type: "get",
  key: parameter(request, "*"),
  stale: flag("stale", parseQuery(request.query, ["stale"]).stale),
});

export function putRequest(request: HttpRequest) {
  const query = parseQuery(request.query, ["lock", "election", "token", "session"]);
  const { body } = request;
  return {
    type: "put",
    key: parameter(request, "*"),
    value: body instanceof Buffer ? body.toString("base64") : "",
    ...preconditionOf(request.headers),
    ...fenceOf(query),
    ...(query.session === undefined ? {} : { session: query.session }),
  };
}

export const deleteRequest = (request: HttpRequest) => ({
  type: "delete",
  key: parameter(request, "*"),
  ...preconditionOf(request.headers),
  ...fenceOf(parseQuery(request.query, ["lock", "election", "token"])),
});

export function listRequest(request: HttpRequest) {
  const names = ["prefix", "limit", "after", "revision", "stale"] as const;
  const query = parseQuery(request.query, names);
  return {
    type: "list",
    prefix: query.prefix ?? "",
    limit: wholeNumber("limit", query.limit),
    after: query.after,
    revision: wholeNumber("revision", query.revision),
    stale: flag("stale", query.stale),
  };
}

export function watchRequest(request: HttpRequest) {
  const { prefix = "", after } = parseQuery(request.query, ["prefix", "after"]);
  return {
    type: "watch",
    prefix,
    after: wholeNumber("after", after),
    ...lastEventOf(request.headers),
  };
}

export const holderRequest = (request: HttpRequest, kind: ClaimKind) => ({
  type: "holder",
  kind,
  name: parameter(request, "name"),
  stale: flag("stale", parseQuery(request.query, ["stale"]).stale),
});

export const releaseRequest = (request: HttpRequest, kind: ClaimKind) => ({
  type: "release",
  kind,
  name: parameter(request, "name"),
  token: wholeNumber("token", parseQuery(request.query, ["token"]).token),
});
