/**
 * The OpenAPI document of whatever is mounted. A route says what it takes and answers in
 * `config: { openapi: { summary, parameters, requestBody, responses } }`; path parameters that it says
 * nothing of are found by themselves, and every route may refuse.
 */
import { anything, answer, flag, named, object, text } from "../lib/openapi.ts";

export type MountedRoute = {
  readonly method: string;
  /** As fastify writes it: `/v1/streams/:name/entries`. */
  readonly url: string;
  readonly description?: RouteDescription;
};

export type RouteDescription = {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses?: Readonly<Record<string, unknown>>;
} & Readonly<Record<string, unknown>>;

export function openApiDocument(routes: readonly MountedRoute[]): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, url, description = {} } of routes) {
    // A wildcard takes the rest of the path, slashes and all.
    const path = url.replaceAll(/:(\w+)/g, "{$1}").replace(/\*$/, "{rest}");
    const given = description.parameters ?? [];
    const isGiven = (name: string) => given.some((one) => one.in === "path" && one.name === name);
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].flatMap(([, name = ""]) =>
      isGiven(name) ? [] : [{ name, in: "path", required: true, schema: text }],
    );
    const parameters = [...inPath, ...given];
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = {
      ...description,
      ...(parameters.length > 0 ? { parameters } : {}),
      responses: {
        ...(description.responses ?? { 200: { description: "Done." } }),
        default: { $ref: "#/components/responses/Refused" },
      },
    };
  }
  const schemas: Record<string, unknown> = {};
  const document = withReferences(
    { paths, refused: answer("Refused, with a reason.", error) },
    schemas,
  );
  return {
    openapi: "3.1.0",
    info: { title: "Skerry application gateway", version: "v1" },
    security: [{ token: [] }],
    paths: document.paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      responses: { Refused: document.refused },
      schemas,
    },
  };
}

/** The same with what is `named` put into `schemas`. */
function withReferences<T>(part: T, schemas: Record<string, unknown>): T {
  if (typeof part !== "object" || part === null) return part;
  if (Array.isArray(part)) return part.map((each) => withReferences(each, schemas)) as T;
  const { title, ...rest } = part as Record<string, unknown>;
  const whole = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [
      name,
      // Examples are values, not words of a schema.
      name === "example" || name === "examples" ? value : withReferences(value, schemas),
    ]),
  );
  if (title === undefined) return whole as T;
  // A field of this name.
  if (typeof title !== "string") return { title: withReferences(title, schemas), ...whole } as T;
  schemas[title] = whole;
  return { $ref: `#/components/schemas/${title}` } as T;
}

const error = named(
  "Error",
  object(
    {
      error: object(
        {
          code: { ...text, description: "Stable; listed in docs/errors.md." },
          message: text,
          hint: text,
          retryable: flag,
          details: { ...anything, description: "Of quota-exceeded: limit, max and used." },
        },
        ["code", "message", "retryable"],
      ),
    },
    ["error"],
  ),
);

/** What the gateway answers itself. */
export const ownDescriptions = {
  alive: {
    summary: "Whether the gateway answers",
    security: [],
    responses: { 200: answer("It does.", object({ ok: flag }, ["ok"])) },
  },
  ready: {
    summary: "Whether this node can do its work",
    security: [],
    responses: { 200: answer("It can; 503 says why not.", object({ ok: flag }, ["ok"])) },
  },
  document: {
    summary: "This document",
    responses: { 200: answer("OpenAPI 3.1.", anything) },
  },
};
