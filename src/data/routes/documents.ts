/**
 * Documents over HTTP: put, patch, read, delete, batches, lists, and changes as server-sent events.
 * Every write can be sent again; what counts or inserts with an `idempotency-key`. 200 when the level
 * asked for was reached, 202 when time ran out before (the answer names the level reached).
 */
import { formatDurabilityLevel } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import {
  callerOf,
  type HttpReply,
  type HttpRequest,
  type Routes,
} from "../../runtime/http/index.ts";
import type { DocumentWrites } from "../durability/document-writes.ts";
import { isObject, type Json, type JsonObject } from "../documents/json.ts";
import type { DocumentStore, DocumentWrite, FieldChange } from "../documents/store.ts";
import { sendChanges } from "./document-changes.ts";
import { parseListQuery, parseWriteQuery } from "./document-query.ts";
import { descriptions } from "./documents-openapi.ts";
import type { StrongDocumentRoutes } from "./strong-documents.ts";

export type DocumentRoutesDeps = {
  readonly store: Pick<DocumentStore, "read" | "list" | "changes" | "status" | "on">;
  readonly writes: Pick<DocumentWrites, "write">;
  readonly clock: Clock;
  /** Collections that stand in the ledger instead. */
  readonly strong?: StrongDocumentRoutes;
};

const bodyBytesMax = 4 * 1024 * 1024;
const types = ["application/json", "application/merge-patch+json"];

type Named = { Params: { collection: string; id: string }; Body: Buffer };
type InCollection = { Params: { collection: string }; Body: Buffer };

export function createDocumentRoutes(deps: DocumentRoutesDeps): Routes {
  const { store, strong } = deps;
  let followers = 0;
  const follow = (count: 1 | -1) => (followers += count);

  return (app) => {
    void app.register(async (scope) => {
      mountDocumentWrites(scope, deps.writes, strong);
      scope.get<Named>(documentPath, described(descriptions.read), async (request, reply) => {
        const { params } = request;
        const document = strong?.has(params.collection)
          ? await strong.read(request, reply, params)
          : await store.read(params);
        if (document) return document;
        throw new SkerryError({
          code: "document-unknown",
          message: `there is no document "${params.id}" in ${params.collection}`,
        });
      });
      scope.get<InCollection>(
        "/v1/documents/:collection",
        described(descriptions.list),
        async (request, reply) => {
          const { collection } = request.params;
          const query = parseListQuery(request);
          if (strong?.has(collection)) return strong.list(request, reply, { collection, ...query });
          if (query.read === "list") return store.list({ collection, ...query.page });
          if (!query.follow) return store.changes({ collection, ...query.page });
          return sendChanges(reply, { ...deps, followers, follow }, { collection, ...query.page });
        },
      );
      scope.get("/v1/documents", described(descriptions.status), async () => {
        const status = await store.status();
        const inLedger = strong?.names.map((name) => ({ name, consistency: "strong" })) ?? [];
        return { ...status, collections: [...status.collections, ...inLedger] };
      });
    });
  };
}

const documentPath = "/v1/documents/:collection/:id";
const described = (description: { readonly summary: string }) => ({
  config: { openapi: description },
  bodyLimit: bodyBytesMax,
});

/** Put, patch, delete and batches; at a node and at the hub alike. */
export function mountDocumentWrites(
  scope: Parameters<Routes>[0],
  store: Pick<DocumentWrites, "write">,
  strong?: Pick<StrongDocumentRoutes, "has" | "write">,
): void {
  const write = async (
    request: HttpRequest,
    reply: HttpReply,
    wishes: readonly DocumentWrite[],
  ): Promise<HttpReply> => {
    const writes = onCondition(request, wishes);
    if (strong && writes.some(({ collection }) => strong.has(collection)))
      return strong.write(request, reply, writes);
    const conditional = writes.find(({ ifVersion }) => ifVersion !== undefined);
    if (conditional)
      throw invalid(
        "if-match",
        `collection ${conditional.collection} merges, and cannot tell whether anybody else wrote; conditions need consistency: strong`,
      );
    const query = parseWriteQuery(request);
    const outcome = await store.write(writes, { ...query, caller: callerOf(request) });
    if (outcome.state === "refused") {
      if (outcome.retryable) void reply.header("retry-after", "1");
      throw new SkerryError(outcome);
    }
    if (outcome.state === "unknown") {
      throw new SkerryError({
        code: "write-unknown",
        message: `the disk took longer than ${query.timeoutMs} ms; the write may have happened`,
        hint: "send it again: what was written already changes nothing, with an idempotency-key neither does a count",
        retryable: true,
      });
    }
    const { state, reached, changed, versions, warnings } = outcome;
    const [version] = versions;
    return reply.code(state === "reached" ? 200 : 202).send({
      reached: formatDurabilityLevel(reached),
      ...(state === "short" ? { asked: formatDurabilityLevel(query.level) } : {}),
      changed,
      ...(writes.length === 1 ? (version === undefined ? {} : { version }) : { versions }),
      ...(warnings.length > 0 ? { warnings } : {}),
    });
  };

  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser(
    types,
    { parseAs: "buffer", bodyLimit: bodyBytesMax },
    (_request, body, done) => done(null, body),
  );
  scope.put<Named>(documentPath, described(descriptions.put), (request, reply) => {
    const body = parseJson(request.body);
    return write(request, reply, [{ ...request.params, do: "put", body: body as JsonObject }]);
  });
  scope.patch<Named>(documentPath, described(descriptions.patch), (request, reply) => {
    const body = parseJson(request.body);
    return write(request, reply, [
      Array.isArray(body)
        ? { ...request.params, do: "change", changes: changesOf(body, "body") }
        : { ...request.params, do: "merge", patch: body as JsonObject },
    ]);
  });
  scope.delete<Named>(documentPath, described(descriptions.delete), (request, reply) =>
    write(request, reply, [{ ...request.params, do: "delete" }]),
  );
  scope.post<InCollection>(
    "/v1/documents/:collection",
    described(descriptions.batch),
    (request, reply) =>
      write(request, reply, batchOf(parseJson(request.body), request.params.collection)),
  );
}

/** `if-match: "VERSION"` and `if-none-match: *` (RFC 9110, section 13.1) of a request for one document. */
function onCondition(
  { headers }: Pick<HttpRequest, "headers">,
  writes: readonly DocumentWrite[],
): readonly DocumentWrite[] {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match === undefined && noneMatch === undefined) return writes;
  const version = /^"([^"]{1,64})"$/.exec(match ?? "")?.[1];
  const [write] = writes;
  if (writes.length !== 1 || !write || (match !== undefined && noneMatch !== undefined))
    throw invalid("if-match", "goes with one document, and not with if-none-match");
  if (match !== undefined && version === undefined)
    throw invalid("if-match", `${match.slice(0, 80)} must be one version in quotes`);
  if (noneMatch !== undefined && noneMatch !== "*") throw invalid("if-none-match", "must be *");
  return [{ ...write, ifVersion: version ?? null }];
}

/** Whether a body is what its verb needs is for the store to say, which checks every write. */
function parseJson(body: Buffer | undefined): Json {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as Json;
  } catch (cause) {
    throw invalid("body", `is not JSON in UTF-8: ${cause instanceof Error ? cause.message : ""}`);
  }
}

/** `{ "writes": [{ "id": "a", "put": { … } }, { "id": "b", "delete": true }] }` */
function batchOf(body: Json, collection: string): DocumentWrite[] {
  const writes = isObject(body) ? body["writes"] : undefined;
  if (!Array.isArray(writes))
    throw invalid("body.writes", 'must be a list such as [{"id":"a","put":{"name":"x"}}]');
  return (writes as readonly Json[]).map((write, index) => {
    const at = `writes[${index}]`;
    if (!isObject(write)) throw invalid(at, "must be an object");
    const { id, collection: other = collection, ifVersion, ...rest } = write;
    const [[verb, value] = ["", null], ...more] = Object.entries(rest);
    if (ifVersion !== undefined && ifVersion !== null && typeof ifVersion !== "string")
      throw invalid(`${at}.ifVersion`, "must be a version as text, or null: it must not be there");
    const condition = ifVersion === undefined ? {} : { ifVersion };
    const named = { collection: String(other), id: id as string, ...condition };
    if (more.length > 0)
      throw invalid(`${at}.${more[0]?.[0]}`, "is one thing too many: a write has one verb");
    switch (verb) {
      case "put":
        return { ...named, do: "put", body: value as JsonObject };
      case "merge":
        return { ...named, do: "merge", patch: value as JsonObject };
      case "change":
        return { ...named, do: "change", changes: changesOf(value, `${at}.change`) };
      case "delete":
        if (value !== true) throw invalid(`${at}.delete`, "must be true");
        return { ...named, do: "delete" };
      default:
        throw invalid(at, `"${verb}" must be put, merge, change or delete`);
    }
  });
}

function changesOf(value: Json, at: string): FieldChange[] {
  if (!Array.isArray(value) || !value.every(isObject))
    throw invalid(at, 'must be a list such as [{"change":"increment","path":"/stock","by":1}]');
  return value as unknown as FieldChange[];
}

const invalid = (field: string, problem: string) =>
  new SkerryError({ code: "invalid-document", message: `${field}: ${problem}` });
