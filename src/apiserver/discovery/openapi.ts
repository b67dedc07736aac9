/**
 * OpenAPI v3 from the kinds' schemas: what `kubectl explain` reads, and what tells clients from 1.27
 * on that the server validates fields itself (`fieldValidation` on PATCH). Strategic merge patches
 * are left out of PATCH on purpose: kubectl then computes them from its own compiled types.
 */
import { createHash } from "node:crypto";
import type { KindDefinition } from "../../api/index.ts";
import { jsonSchemaOf, type JsonSchema } from "../json-schema.ts";
import type { GroupVersion, KindIndex } from "../kind-index.ts";

/** `/openapi/v3`: where each group's document is. The hash changes with its content. */
export function openApiIndex(index: KindIndex, documentOf: (gv: GroupVersion) => string): unknown {
  return {
    paths: Object.fromEntries(
      index.groupVersions.map((groupVersion) => {
        const path = groupVersion.path.slice(1);
        const hash = createHash("sha256").update(documentOf(groupVersion)).digest("hex");
        return [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash.slice(0, 32)}` }];
      }),
    ),
  };
}

/** One group and version, as JSON text. */
export function openApiDocument(groupVersion: GroupVersion): string {
  return JSON.stringify({
    openapi: "3.0.0",
    info: { title: "Skerry", version: "v1" },
    paths: Object.fromEntries(groupVersion.kinds.flatMap((kind) => pathsOf(groupVersion, kind))),
    components: {
      schemas: Object.fromEntries(
        groupVersion.kinds.map((kind) => [
          schemaName(kind),
          {
            ...publishable(jsonSchemaOf(kind)),
            description: `${kind.kind} of ${groupVersion.apiVersion}`,
            "x-kubernetes-group-version-kind": [typeOf(kind)],
          },
        ]),
      ),
    },
  });
}

const typeOf = ({ group, version, kind }: KindDefinition) => ({ group, version, kind });

/** `io.skerry.apps.v1.Deployment` */
const schemaName = ({ group, version, kind }: KindDefinition) =>
  ["io.skerry", group === "" ? "core" : group, version, kind].join(".");

function pathsOf(groupVersion: GroupVersion, kind: KindDefinition): [string, unknown][] {
  const scope = kind.namespaced ? "/namespaces/{namespace}" : "";
  const collection = `${groupVersion.path}${scope}/${kind.plural}`;
  const schema = { $ref: `#/components/schemas/${schemaName(kind)}` };
  const operation = (action: string, parameters: readonly string[], body?: readonly string[]) => ({
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": typeOf(kind),
    parameters: parameters.map((name) => ({
      name,
      in: "query",
      schema: { type: "string", uniqueItems: true },
    })),
    ...(body && {
      requestBody: { content: Object.fromEntries(body.map((type) => [type, { schema }])) },
    }),
    responses: { 200: { description: "OK", content: { "application/json": { schema } } } },
  });
  const write = ["dryRun", "fieldManager", "fieldValidation"];
  const read = ["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"];
  const documents = ["application/json", "application/yaml"];
  return [
    [collection, { get: operation("list", read), post: operation("post", write, documents) }],
    [
      `${collection}/{name}`,
      {
        get: operation("get", []),
        put: operation("put", write, documents),
        patch: operation(
          "patch",
          [...write, "force"],
          [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
          ],
        ),
        delete: operation("delete", ["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
      },
    ],
  ];
}

/** OpenAPI 3.0 has no `const`, no type lists and no tuple of names for properties. */
function publishable(schema: JsonSchema): JsonSchema {
  const result: Record<string, unknown> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (keyword === "$schema" || keyword === "propertyNames") continue;
    if (keyword === "const") result["enum"] = [value];
    else if (keyword === "additionalProperties" && value === false) continue;
    else if (keyword === "properties") {
      result[keyword] = Object.fromEntries(
        Object.entries(value as Record<string, JsonSchema>).map(([name, below]) => [
          name,
          publishable(below),
        ]),
      );
    } else if (keyword === "anyOf" || keyword === "oneOf" || keyword === "allOf") {
      result[keyword] = (value as readonly JsonSchema[]).map(publishable);
    } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      result[keyword] = publishable(value as JsonSchema);
    } else result[keyword] = value;
  }
  return result as JsonSchema;
}
