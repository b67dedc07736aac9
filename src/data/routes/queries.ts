/**
 * `POST /v1/documents/:collection/query` and `POST /v1/streams/:name/query`: rows, or groups measured,
 * a page at a time; and `GET /v1/live/:collection`, documents as they change.
 */
import type { HttpReply, Routes } from "../../runtime/http/index.ts";
import { checkEntriesQuery, checkQuery, isLiveQuery } from "../queries/check.ts";
import type { LiveQueries } from "../queries/live-queries.ts";
import type { QueryPage } from "../queries/query.ts";
import type { Queries } from "../queries/thread.ts";
import { parseJsonBody, withJsonBodies } from "./json-body.ts";
import { parseLiveQuery, sendLive } from "./live.ts";
import { liveDocuments, queryDocuments, queryEntries } from "./queries-openapi.ts";

export type QueryRoutesDeps = {
  readonly queries: Pick<Queries, "documents" | "entries">;
  readonly live: Pick<LiveQueries, "open">;
  readonly declared: {
    /** Throws `invalid-query` for one that no query can read. */
    isCollection(name: string): boolean;
    isStream(name: string): boolean;
  };
};

const bodyBytesMax = 1024 * 1024;

export function createQueryRoutes({ queries, live, declared }: QueryRoutesDeps): Routes {
  return (app) => {
    withJsonBodies(app, bodyBytesMax, (scope) => {
      scope.post<{ Params: { collection: string }; Body: Buffer | undefined }>(
        "/v1/documents/:collection/query",
        { config: { openapi: queryDocuments }, bodyLimit: bodyBytesMax },
        async (request, reply) => {
          const { collection } = request.params;
          const asked = parseJsonBody(request.body);
          const query = checkQuery(asked);
          const isDeclared = declared.isCollection(collection);
          if (isLiveQuery(asked, query))
            return sendLive(live, request, reply, { collection, isDeclared, query });
          return sendPage(reply, await queries.documents({ collection, isDeclared, query }));
        },
      );
      scope.get<{ Params: { collection: string } }>(
        "/v1/live/:collection",
        { config: { openapi: liveDocuments } },
        async (request, reply) => {
          const asked = parseLiveQuery(request.params, request.query);
          const isDeclared = declared.isCollection(asked.collection);
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

/** Rows are JSON already; they are put together, not read again. */
export function sendPage(reply: HttpReply, { rows, ...rest }: QueryPage): HttpReply {
  const end = JSON.stringify(rest).slice(1);
  return reply
    .type("application/json")
    .send(`{"rows":[${rows.join(",")}]${end === "}" ? "" : ","}${end}`);
}
