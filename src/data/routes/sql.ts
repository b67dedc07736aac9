/** `POST /v1/data/sql`: one statement that reads, answered whole; who goes away ends it. */
import type { Routes } from "../../runtime/http/index.ts";
import { checkSqlRequest } from "../queries/sql/request.ts";
import type { Sql } from "../queries/sql/sql.ts";
import { parseJsonBody, withJsonBodies } from "./json-body.ts";
import { runStatement } from "./queries-openapi.ts";

const bodyBytesMax = 256 * 1024;

/** As for queries: whoever may call the gateway reads what the gateway reads. */
export const createSqlRoutes =
  (sql: Sql): Routes =>
  (app) =>
    withJsonBodies(app, bodyBytesMax, (scope) => {
      scope.post<{ Body: Buffer | undefined }>(
        "/v1/data/sql",
        { config: { openapi: runStatement } },
        async (request, reply) => {
          const query = checkSqlRequest(parseJsonBody(request.body));
          const gone = new AbortController();
          reply.raw.once("close", () => gone.abort());
          return sql.run(query, { signal: gone.signal });
        },
      );
    });
