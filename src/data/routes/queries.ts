/**
 * `POST /v1/documents/:collection/query` and `POST /v1/streams/:name/query`: rows, or groups measured,
 * a page at a time; and `GET /v1/live/:collection`, documents as they change.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { HttpReply, Routes } from "../../runtime/http/index.ts";
import { checkEntriesQuery, checkQuery, isLiveQuery } from "../queries/check.ts";
import type { LiveQueries } from "../queries/live-queries.ts";
import type { QueryPage } from "../queries/query.ts";
import type { Queries } from "../queries/thread.ts";
import { parseJsonBody, withJsonBodies } from "./json-body.ts";
import { parseLiveQuery, sendLive } from "./live.ts";
import type { StrongDocumentRoutes } from "./strong-documents.ts";
import { liveDocuments, queryDocuments, queryEntries } from "./queries-openapi.ts";

export type QueryRoutesDeps = {
  readonly queries: Pick<Queries, "documents" | "entries">;
  readonly live: Pick<LiveQueries, "open">;
  /** Collections that stand in the ledger instead. */
  readonly strong?: Pick<StrongDocumentRoutes, "has" | "query">;
  readonly declared: {
    isCollection(name: string): boolean;
    isStream(name: string): boolean;
  };
};

const bodyBytesMax = 1024 * 1024;

export function createQueryRoutes({ queries, live, strong, declared }: QueryRoutesDeps): Routes {
  const isDeclaredLive = (collection: string): boolean => {
    if (strong?.has(collection)) throw notLive(collection);
    return declared.isCollection(collection);
  };
  return (app) => {
    withJsonBodies(app, bodyBytesMax, (scope) => {
      scope.post<{ Params: { collection: string }; Body: Buffer | undefined }>(
        "/v1/documents/:collection/query",
        { config: { openapi: queryDocuments }, bodyLimit: bodyBytesMax },
        async (request, reply) => {
          const { collection } = request.params;
          const asked = parseJsonBody(request.body);
          const query = checkQuery(asked);
          if (isLiveQuery(asked, query)) {
            const isDeclared = isDeclaredLive(collection);
            return sendLive(live, request, reply, { collection, isDeclared, query });
          }
          if (strong?.has(collection))
            return sendPage(reply, await strong.query(request, { collection, query }));
          const isDeclared = declared.isCollection(collection);
          return sendPage(reply, await queries.documents({ collection, isDeclared, query }));
        },
      );
      scope.get<{ Params: { collection: string } }>(
        "/v1/live/:collection",
        { config: { openapi: liveDocuments } },
        async (request, reply) => {
          const asked = parseLiveQuery(request.params, request.query);
          const isDeclared = isDeclaredLive(asked.collection);
          return sendLive(live, request, reply, { ...asked, isDeclared });
        },
      );
      scope.post<{ Params: { name: string }; Body: Buffer | undefined }>(
        "/v1/streams/:name/query",
        { config: { openapi: queryEntries }, bodyLimit: bodyBytesMax },
        async ({ params: { name }, body }, reply) => {
          const query = checkEntriesQuery(parseJsonBody(body));
          const isDeclared = declared.isStream(name);
          return sendPage(reply, await queries.entries({ stream: name, isDeclared, query }));
        },
      );
    });
  };
}

const notLive = (collection: string) =>
  new SkerryError({
    code: "invalid-query",
    message: `live: ${collection} has consistency: strong, and queries over it are not live`,
    hint: `follow its changes, and ask again when one came: GET /v1/documents/${collection}?follow=1`,
  });

/** Rows are JSON already; they are put together, not read again. */
export function sendPage(reply: HttpReply, { rows, ...rest }: QueryPage): HttpReply {
  const end = JSON.stringify(rest).slice(1);
  return reply
    .type("application/json")
    .send(`{"rows":[${rows.join(",")}]${end === "}" ? "" : ","}${end}`);
}
