/** Queries at the hub: as on a node, with `cell` beside for one cell only. */
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import { isObject, type Json } from "../documents/json.ts";
import { checkEntriesQuery, checkQuery, isLiveQuery } from "../queries/check.ts";
import type { GlobalQueries } from "../queries/thread.ts";
import { parseJsonBody, withJsonBodies } from "./json-body.ts";
import { sendPage } from "./queries.ts";

const bodyBytesMax = 1024 * 1024;

export function createGlobalQueryRoutes(
  queries: Pick<GlobalQueries, "documents" | "entries">,
): Routes {
  return (app) => {
    withJsonBodies(app, bodyBytesMax, (scope) => {
      scope.post<{ Params: { collection: string }; Body: Buffer | undefined }>(
        "/v1/documents/:collection/query",
        { bodyLimit: bodyBytesMax },
        async ({ params, body }, reply) => {
          const { cell, asked } = withCell(parseJsonBody(body));
          const query = checkQuery(asked);
          if (isLiveQuery(asked, query))
            throw new SkerryError({
              code: "invalid-query",
              message: "live: queries at a hub are not live",
              hint: "ask a node of the cell",
            });
          return sendPage(reply, await queries.documents({ ...params, ...cell, query }));
        },
      );
      scope.post<{ Params: { name: string }; Body: Buffer | undefined }>(
        "/v1/streams/:name/query",
        { bodyLimit: bodyBytesMax },
        async ({ params: { name }, body }, reply) => {
          const { cell, asked } = withCell(parseJsonBody(body));
          const query = checkEntriesQuery(asked);
          return sendPage(reply, await queries.entries({ stream: name, ...cell, query }));
        },
      );
    });
  };
}

/** Throws `invalid-query`. */
function withCell(request: Json | undefined): { cell: { cell?: string }; asked: Json | undefined } {
  if (!isObject(request)) return { cell: {}, asked: request };
  const { cell, ...asked } = request;
  if (cell === undefined) return { cell: {}, asked };
  if (typeof cell === "string") return { cell: { cell }, asked };
  throw new SkerryError({ code: "invalid-query", message: "cell: must be the name of a cell" });
}
