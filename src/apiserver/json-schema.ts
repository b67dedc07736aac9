/** A kind's zod schema as JSON Schema, for OpenAPI. */
import * as z from "zod";
import type { KindDefinition } from "../api/index.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

export function jsonSchemaOf(kind: KindDefinition): JsonSchema {
  return z.toJSONSchema(kind.schema, {
    io: "input",
    reused: "inline",
    unrepresentable: "any",
    target: "openapi-3.0",
  });
}
