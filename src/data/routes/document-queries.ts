/** `POST /v1/documents/:collection/query`: rows or groups of a collection, a page at a time. */
import { SkerryError } from "../../lib/errors.ts";
import type { HttpReply, Routes } from "../../runtime/http/index.ts";
import type { Json } from "../documents/json.ts";
import { checkQuery } from "../queries/check.ts";
import type { QueryPage } from "../queries/query.ts";
import type { Queries } from "../queries/thread.ts";
import { queryDocuments } from "./queries-openapi.ts";

export type DocumentQueryDeps = {
  readonly queries: Pick<Queries, "documents">;
  readonly isDeclared: (collection: string) => boolean;
};

const bodyBytesMax = 1024 * 1024;

export function createDocumentQueryRoutes({ queries, isDeclared }: DocumentQueryDeps): Routes {
  return (app) => {
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        "application/json",
        { parseAs: "buffer", bodyLimit: bodyBytesMax },
        (_request, body, done) => done(null, body),
      );
      scope.post<{ Params: { collection: string }; Body: Buffer | undefined }>(
        "/v1/documents/:collection/query",
        { config: { openapi: queryDocuments }, bodyLimit: bodyBytesMax },
        async (request, reply) => {
          const { collection } = request.params;
          const query = checkQuery(parseRequest(request.body));
          const page = await queries.documents({
            collection,
            isDeclared: isDeclared(collection),
            query,
          });
          return sendPage(reply, page);
        },
      );
    });
  };
}

/** Nothing asks for everything. Throws `invalid-query`. */
export function parseRequest(body: Buffer | undefined): Json | undefined {
  if (body === undefined || body.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as Json;
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-query",
      message: `body: is not JSON in UTF-8: ${cause instanceof Error ? cause.message : ""}`,
      cause,
    });
  }
}

/** Rows are JSON already; they are put together, not read again. */
export function sendPage(reply: HttpReply, { rows, ...rest }: QueryPage): HttpReply {
  const end = JSON.stringify(rest).slice(1);
  return reply
    .type("application/json")
    .send(`{"rows":[${rows.join(",")}]${end === "}" ? "" : ","}${end}`);
}
