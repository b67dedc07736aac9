/** Words of OpenAPI 3.1 that routes describe themselves with, in `config.openapi`. */
export type Schema = Readonly<Record<string, unknown>>;

export const text = { type: "string" } as const;
export const count = { type: "integer" } as const;
export const flag = { type: "boolean" } as const;
export const list = (items: Schema) => ({ type: "array", items });
/** An object of any fields. */
export const anything = { type: "object" } as const;
/** Values of one kind by names that nobody knows before. */
export const byName = (value: Schema) => ({ type: "object", additionalProperties: value });

/** With no fields but these; `required` are always there. */
export const object = (
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[] = [],
) => ({
  type: "object",
  properties,
  ...(required.length > 0 ? { required } : {}),
});

/** One that stands in the document once, under this name. */
export const named = <T extends Schema>(title: string, schema: T) => ({ title, ...schema });

const parameter =
  (where: "query" | "header" | "path") =>
  (name: string, description: string, schema: Schema = text) => ({
    name,
    in: where,
    ...(where === "path" ? { required: true } : {}),
    description,
    schema,
  });
export const inQuery = parameter("query");
export const inHeader = parameter("header");
export const inPath = parameter("path");

export const jsonBody = (schema: Schema, { required = true }: { required?: boolean } = {}) => ({
  requestBody: { required, content: { "application/json": { schema } } },
});

/** An answer in JSON. */
export const answer = (description: string, schema: Schema) => ({
  description,
  content: { "application/json": { schema } },
});
