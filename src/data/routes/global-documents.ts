/**
 * Documents at the hub: reads of cells' copies, where `cell` is a filter of lists; and collections that
 * are written here, with the same requests as on a node.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import { isObject } from "../documents/json.ts";
import { isPointer } from "../documents/pointer.ts";
import { levelImpossible } from "../durability/reach.ts";
import type { DocumentWrites } from "../durability/document-writes.ts";
import { indexesMax } from "../global/copy-indexes.ts";
import type { GlobalDocumentStore, MergedField, Publication } from "../global/documents.ts";
import { parseCell, parseGlobalListQuery } from "./document-query.ts";
import { mountDocumentWrites } from "./documents.ts";

type Store = Pick<
  GlobalDocumentStore,
  "read" | "list" | "collections" | "publish" | "publications" | "write"
>;

export function createGlobalDocumentRoutes(store: Store): Routes {
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
        const cell = parseCell(query);
        const document = await store.read({ ...params, ...(cell === undefined ? {} : { cell }) });
        if (document) return document;
        const where = cell === undefined ? "" : ` of cell ${cell}`;
        throw new SkerryError({
          code: "document-unknown",
          message: `there is no document "${params.id}" in ${params.collection}${where}`,
        });
      },
    );
    app.get("/v1/published", async () => ({ published: await store.publications() }));
    app.put<{ Params: { name: string } }>("/v1/published/:name", async ({ params, body }) => {
      const publication = publicationOf(params.name, body);
      await store.publish(publication);
      return publication;
    });
    void app.register(async (scope) => mountDocumentWrites(scope, writesOf(store)));
  };
}

const writesOf = (store: Store): Pick<DocumentWrites, "write"> => ({
  async write(writes, { level, key, caller }) {
    if (level.level === "peer" || level.level === "hub")
      return levelImpossible("level: a write at the hub reaches its own disk", "ask for local");
    const answer = await store.write(writes, { key, caller });
    if (answer.state === "refused") return answer;
    const { changed, warnings, versions } = answer;
    return { state: "reached", reached: { level: "local" }, changed, warnings, versions };
  },
});

const nameMax = 253;

/** Throws `invalid-query` naming the field. */
function publicationOf(name: string, body: unknown): Publication {
  const invalid = (field: string, problem: string, hint: string) =>
    new SkerryError({ code: "invalid-query", message: `${field}: ${problem}`, hint });
  if (name.length > nameMax || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name))
    throw invalid(
      "name",
      `"${name.slice(0, 60)}" is no name`,
      "as that of the Collection in cells",
    );
  if (!isObject(body)) throw invalid("body", "must be an object", '{"cells":["north"]}');
  const { cells, cellField, fromCells, indexes, ...rest } = body;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined)
    throw invalid(unknown, "is not known", "known are cells, cellField, fromCells, indexes");
  if (cells !== undefined && !isTexts(cells))
    throw invalid("cells", "must be a list of cells' names", '["north","south"]');
  if (cellField !== undefined && !(isPointer(cellField) && cellField !== ""))
    throw invalid("cellField", "must be a JSON pointer", "such as /cells");
  const isPath = (path: unknown) => isPointer(path) && path !== "";
  if (indexes !== undefined && !(isTexts(indexes) && indexes.every(isPath)))
    throw invalid("indexes", "must be a list of JSON pointers", '["/euro","/address/city"]');
  if (indexes !== undefined && indexes.length > indexesMax)
    throw invalid("indexes", `${indexes.length} of them`, `at most ${indexesMax}`);
  const fields = isObject(fromCells) ? (fromCells["fields"] ?? []) : [];
  if (fromCells !== undefined && !(isObject(fromCells) && isMergedFields(fields)))
    throw invalid(
      "fromCells.fields",
      "must be a list of paths with the type counter, set, list or text",
      '[{"path":"/stock","type":"counter"}]',
    );
  return {
    name,
    ...(cells === undefined ? {} : { cells }),
    ...(cellField === undefined ? {} : { cellField }),
    ...(fromCells === undefined ? {} : { fromCells: { fields: fields as MergedField[] } }),
    ...(indexes === undefined ? {} : { indexes }),
  };
}

const isMergedFields = (fields: unknown): boolean =>
  Array.isArray(fields) &&
  fields.every(
    (field) =>
      isObject(field) &&
      Object.keys(field).length === 2 &&
      isPointer(field["path"]) &&
      ["counter", "set", "list", "text"].includes(String(field["type"])),
  );

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string" && each !== "");
