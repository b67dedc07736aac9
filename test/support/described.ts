/**
 * Requests that are held against an OpenAPI document, and their answers too: what a route takes or
 * answers and does not say fails, as does what it says and does not answer.
 */
import { strict as assert } from "node:assert";
import * as z from "zod";

type Schema = Readonly<Record<string, unknown>>;
type Content = Readonly<Record<string, { readonly schema?: Schema }>>;
export type Operation = {
  readonly summary?: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, Answer>>;
};
type Answer = { readonly content?: Content; readonly $ref?: string };
export type OpenApi = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
};

export type Sent = {
  /** By name, for the path's parameters. */
  readonly path?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object or a list as JSON, text as it is. */
  readonly body?: object | string;
  readonly status?: number;
};

export function describedBy(document: OpenApi, base: { url: string; token: string }) {
  const called = new Set<string>();

  /** Objects with no fields but those that are named. */
  const closed = (schema: unknown): unknown => {
    if (Array.isArray(schema)) return schema.map(closed);
    if (typeof schema !== "object" || schema === null) return schema;
    const { $ref, ...rest } = schema as Record<string, unknown>;
    if (typeof $ref === "string") {
      const known = document.components.schemas[nameOf($ref)];
      assert.ok(known, $ref);
      return closed(known);
    }
    const { properties, ...more } = rest;
    const named = properties as Record<string, unknown> | undefined;
    const parts = Object.entries(more).map(([key, value]) => [key, closed(value)]);
    return {
      ...(named ? { additionalProperties: false } : {}),
      ...Object.fromEntries(parts),
      ...(named
        ? {
            properties: Object.fromEntries(
              Object.entries(named).map(([name, each]) => [name, closed(each)]),
            ),
          }
        : {}),
    };
  };
  const fits = (schema: Schema | undefined, value: unknown, what: string) => {
    assert.ok(schema, `${what}: there is no schema`);
    const parsed = z
      .fromJSONSchema(closed(schema) as z.core.JSONSchema.JSONSchema)
      .safeParse(value);
    assert.ok(
      parsed.success,
      `${what}: ${z.prettifyError(parsed.error ?? new z.ZodError([]))}\n${JSON.stringify(value)}`,
    );
  };
  const textFits = (schema: Schema | undefined, text: string, what: string) => {
    const isNumber = schema?.["type"] === "integer" || schema?.["type"] === "number";
    fits(schema, isNumber ? Number(text) : text, what);
  };

  const contentOf = (content: Content | undefined, type: string | null, what: string) => {
    const name = (type ?? "").split(";")[0]?.trim() ?? "";
    const found = content?.[name];
    assert.ok(found, `${what}: ${name || "a body"} is not described`);
    return { name, schema: found.schema };
  };

  return {
    /** `METHOD /path` of each operation that was called. */
    called,
    operations: Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    ),
    /** `operation` as in `operations`; the answer's body, or of events the first piece of it. */
    async call(operation: string, sent: Sent = {}) {
      const [method = "", template = ""] = operation.split(" ");
      const described = document.paths[template]?.[method.toLowerCase()];
      assert.ok(described, `${operation} is not described`);
      called.add(operation);
      const { parameters = [] } = described;
      for (const [where, given] of [
        ["path", sent.path],
        ["query", sent.query],
        ["header", sent.headers],
      ] as const)
        for (const [name, value] of Object.entries(given ?? {})) {
          if (name === "content-type") continue;
          const known = parameters.find(
            (one) => one.in === where && one.name.toLowerCase() === name.toLowerCase(),
          );
          assert.ok(known, `${operation}: ${where} parameter ${name} is not described`);
          textFits(known.schema, value, `${operation}: ${name}`);
        }
      const type =
        sent.headers?.["content-type"] ??
        (typeof sent.body === "object" ? "application/json" : null);
      if (sent.body !== undefined) {
        const { schema } = contentOf(described.requestBody?.content, type, `${operation}: request`);
        fits(schema, sent.body, `${operation}: request`);
      }
      const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => sent.path?.[name] ?? "");
      const query = new URLSearchParams(sent.query).toString();
      const gone = new AbortController();
      const answer = await fetch(`${base.url}${path}${query && "?"}${query}`, {
        method,
        headers: {
          authorization: `Bearer ${base.token}`,
          ...(type === null ? {} : { "content-type": type }),
          ...sent.headers,
        },
        ...(sent.body === undefined
          ? {}
          : { body: typeof sent.body === "string" ? sent.body : JSON.stringify(sent.body) }),
        signal: gone.signal,
      });
      const what = `${operation}: ${answer.status}`;
      const response =
        described.responses[answer.status] ??
        (answer.status >= 400
          ? document.components.responses[nameOf(described.responses["default"]?.$ref ?? "")]
          : undefined);
      const isLasting =
        sent.query?.["follow"] === "1" ||
        answer.headers.get("content-type")?.startsWith("text/event-stream");
      const text = isLasting ? await firstOf(answer) : await answer.text();
      if (isLasting) gone.abort();
      assert.ok(response, `${what} is not described: ${text}`);
      assert.equal(answer.status, sent.status ?? 200, `${what}: ${text}`);
      if (answer.status === 204) return { text, json: undefined, headers: answer.headers };
      const { name, schema } = contentOf(
        response.content,
        answer.headers.get("content-type"),
        what,
      );
      const json = (): unknown => JSON.parse(text);
      if (name === "application/json") fits(schema, json(), what);
      else if (name === "application/x-ndjson")
        for (const line of text.split("\n").filter((each) => each !== ""))
          fits(schema, JSON.parse(line), what);
      else if (name !== "application/octet-stream") fits(schema, text, what);
      return {
        text,
        json: name === "application/json" ? json() : undefined,
        headers: answer.headers,
      };
    },
  };
}

const nameOf = (reference: string) => reference.split("/").at(-1) ?? "";

async function firstOf(answer: Response): Promise<string> {
  const reader = answer.body?.getReader();
  const { value } = (await reader?.read()) ?? {};
  return new TextDecoder().decode(value);
}
