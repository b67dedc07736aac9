/** Paths that describe the API itself: discovery, OpenAPI, version. */
import type { Exchange } from "./exchange.ts";
import { sendBytes, sendJson } from "./exchange.ts";
import {
  aggregated,
  coreVersions,
  groupList,
  groupOf,
  resourceList,
} from "./discovery/documents.ts";
import { openApiDocument, openApiIndex } from "./discovery/openapi.ts";
import type { GroupVersion, KindIndex } from "./kind-index.ts";
import { negotiateDiscovery } from "./negotiation.ts";
import { failure } from "./status.ts";

/** What kubectl shows as the server's version; the API's shape is that of this Kubernetes. */
const version = {
  major: "1",
  minor: "32",
  gitVersion: "v1.32.0+skerry",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "none",
  platform: "node/any",
};

const openApiV2Type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

export type Documents = (exchange: Exchange) => Promise<boolean>;

/** Answers whether the path was one of these. */
export function createDocuments(index: KindIndex): Documents {
  const textByPath = new Map<string, string>();
  const documentOf = (groupVersion: GroupVersion): string => {
    const known = textByPath.get(groupVersion.path);
    if (known !== undefined) return known;
    const text = openApiDocument(groupVersion);
    textByPath.set(groupVersion.path, text);
    return text;
  };

  const sendDiscovery = async (exchange: Exchange, root: "/api" | "/apis") => {
    const wanted = negotiateDiscovery(exchange.request.headers.accept);
    if (!wanted) throw failure("NotAcceptable", "discovery is spoken as application/json only");
    if (wanted.form === "plain") {
      return sendJson(exchange, 200, root === "/api" ? coreVersions() : groupList(index));
    }
    exchange.response.setHeader("Vary", "Accept");
    const type = `application/json;g=apidiscovery.k8s.io;v=${wanted.version};as=APIGroupDiscoveryList`;
    return sendJson(exchange, 200, aggregated(index, root, wanted.version), type);
  };

  return async (exchange) => {
    const path = exchange.path.replace(/\/+$/, "");
    const isDocument =
      path === "/version" || path.startsWith("/openapi/") || /^\/apis?(?:\/|$)/.test(path);
    if (!isDocument) return false;
    const openApi = /^\/openapi\/v3\/(.+)$/.exec(path);
    const listed = index.groupVersions.find(
      (one) => one.path === (openApi ? `/${openApi[1]}` : path),
    );
    const group = /^\/apis\/([^/]+)$/.exec(path)?.[1];
    let answer: unknown;
    if (path === "/version") answer = version;
    else if (path === "/openapi/v3") answer = openApiIndex(index, documentOf);
    else if (openApi && listed) answer = documentOf(listed);
    else if (listed) answer = resourceList(listed);
    else if (group !== undefined) answer = groupOf(index, group);
    const isKnown =
      path === "/api" || path === "/apis" || path === "/openapi/v2" || answer !== undefined;
    if (!isKnown) return false;
    if (exchange.method !== "GET" && exchange.method !== "HEAD") {
      throw failure("MethodNotAllowed", `${exchange.method} is not allowed on ${path}`);
    }
    if (path === "/api" || path === "/apis") await sendDiscovery(exchange, path);
    // kubectl rejects OpenAPI v2 as JSON and is content with an empty protobuf.
    else if (path === "/openapi/v2") await sendBytes(exchange, 200, Buffer.alloc(0), openApiV2Type);
    else if (typeof answer === "string") {
      await sendBytes(exchange, 200, Buffer.from(answer), "application/json");
    } else await sendJson(exchange, 200, answer);
    return true;
  };
}
