/**
 * The OpenAPI document of whatever is mounted. A route says more of itself in
 * `config: { openapi: { summary, parameters, requestBody } }`; path parameters are found by themselves.
 */

export type MountedRoute = {
  readonly method: string;
  /** As fastify writes it: `/v1/streams/:name/entries`. */
  readonly url: string;
  readonly description?: Readonly<Record<string, unknown>>;
};

export function openApiDocument(routes: readonly MountedRoute[]): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, url, description } of routes) {
    const path = url.replaceAll(/:(\w+)/g, "{$1}");
    const parameters = [...url.matchAll(/:(\w+)/g)].map(([, name]) => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string" },
    }));
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = {
      ...(parameters.length > 0 ? { parameters } : {}),
      responses: {
        200: { description: "Done." },
        default: {
          description: "Refused, with a reason.",
          content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
        },
      },
      ...description,
    };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Skerry application gateway", version: "v1" },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        Error: {
          type: "object",
          required: ["error"],
          properties: {
            error: {
              type: "object",
              required: ["code", "message", "retryable"],
              properties: {
                code: { type: "string", description: "Stable; listed in docs/errors.md." },
                message: { type: "string" },
                hint: { type: "string" },
                retryable: { type: "boolean" },
              },
            },
          },
        },
      },
    },
  };
}
