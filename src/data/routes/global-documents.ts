/** Reads of documents at the hub: `cell` is a filter of lists and stands in every document. */
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { GlobalDocumentStore } from "../global/documents.ts";
import { parseGlobalListQuery, requiredCell } from "./document-query.ts";

export function createGlobalDocumentRoutes(
  store: Pick<GlobalDocumentStore, "read" | "list" | "collections">,
): Routes {
  return (app) => {
    app.get<{ Querystring: { cell?: string } }>("/v1/documents", async ({ query }) => ({
      collections: await store.collections(query.cell),
    }));
    app.get<{ Params: { collection: string } }>(
      "/v1/documents/:collection",
      async ({ params, query }) => store.list({ ...params, ...parseGlobalListQuery(query) }),
    );
    app.get<{ Params: { collection: string; id: string } }>(
      "/v1/documents/:collection/:id",
      async ({ params, query }) => {
        const cell = requiredCell(query);
        const document = await store.read({ ...params, cell });
        if (document) return document;
        throw new SkerryError({
          code: "document-unknown",
          message: `there is no document "${params.id}" in ${params.collection} of cell ${cell}`,
        });
      },
    );
  };
}
