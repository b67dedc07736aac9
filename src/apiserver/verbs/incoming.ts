/** Bodies that hold one object: of the kind, name and namespace that the path says. */
import { apiVersionOf, type KubeObject } from "../../api/index.ts";
import { readBody } from "../body.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceRoute } from "../route.ts";
import { badRequest } from "../status.ts";

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Throws StatusError 400 naming what does not fit. What else is wrong, validation will find. */
export async function readObject(exchange: Exchange, route: ResourceRoute): Promise<KubeObject> {
  const body = await readBody(exchange.request);
  const value = body?.value;
  if (!isRecord(value)) throw badRequest("the request needs a body that is one object");
  const { kind } = route;
  for (const [field, wanted] of [
    ["apiVersion", apiVersionOf(kind)],
    ["kind", kind.kind],
  ] as const) {
    if (value[field] !== wanted) {
      const message =
        value[field] === undefined
          ? `the object's ${field} is missing; here it must be "${wanted}"`
          : `the object's ${field} "${String(value[field])}" does not match "${wanted}" of the path`;
      throw badRequest(message, [{ field, message }]);
    }
  }
  const metadata = value["metadata"] ?? {};
  if (!isRecord(metadata)) throw fieldError("metadata", "must be an object");
  return {
    ...value,
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    metadata: {
      ...metadata,
      name: nameFor(route, metadata),
      ...(kind.namespaced ? { namespace: namespaceFor(route, metadata) } : {}),
    },
  };
}

function nameFor(route: ResourceRoute, metadata: Record<string, unknown>): string {
  const { name = "" } = metadata;
  if (typeof name !== "string") throw fieldError("metadata.name", "must be text");
  if (route.name === undefined) return name;
  if (name !== "" && name !== route.name) {
    throw badRequest(
      `the name of the object (${name}) does not match the name on the URL (${route.name})`,
      [{ field: "metadata.name", message: `must be "${route.name}"` }],
    );
  }
  return route.name;
}

function namespaceFor(route: ResourceRoute, metadata: Record<string, unknown>): string | undefined {
  const namespace = metadata["namespace"] || route.namespace;
  if (namespace !== route.namespace) {
    throw badRequest(
      `the namespace of the object (${String(namespace)}) does not match the namespace on the URL (${String(route.namespace)})`,
      [{ field: "metadata.namespace", message: `must be "${String(route.namespace)}"` }],
    );
  }
  return route.namespace;
}

function fieldError(field: string, problem: string) {
  return badRequest(`${field} ${problem}`, [{ field, message: problem }]);
}
