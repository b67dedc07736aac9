/** The `scale` subresource: how many, and nothing else (autoscaling/v1 Scale). */
import { isScalable, scaleOf, scaleSchema, type KubeObject } from "../../api/index.ts";
import { assertAllowed } from "../access.ts";
import { readBody } from "../body.ts";
import type { VerbDependencies } from "../dependencies.ts";
import { sendJson, type Exchange } from "../exchange.ts";
import { writeOptionsOf } from "../query.ts";
import type { ResourceRoute } from "../route.ts";
import { badRequest, failure } from "../status.ts";
import { writtenOrThrow } from "./outcome.ts";
import { fetchObject } from "./read.ts";
import { readPatch } from "./write.ts";

export async function getScale(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  await assertAllowed(deps, exchange.subject, route);
  await sendScale(exchange, await fetchObject(deps, exchange, route));
}

export async function updateScale(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind, name = "" } = route;
  const options = writeOptionsOf(exchange);
  const parsed = scaleSchema.safeParse((await readBody(exchange.request))?.value);
  if (!parsed.success) {
    const causes = parsed.error.issues.map((issue) => ({
      field: issue.path.join("."),
      message: issue.message,
    }));
    const faults = causes.map(({ field, message }) => `${field}: ${message}`).join("; ");
    throw badRequest(`the body is no Scale of autoscaling/v1: ${faults}`, causes);
  }
  const { metadata, spec } = parsed.data;
  if (metadata.name !== name) {
    throw badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    );
  }
  await assertAllowed(deps, exchange.subject, route);
  const current = await fetchObject(deps, exchange, route);
  if (!isScalable(current)) throw failure("NotFound", `${kind.plural} cannot be scaled`);
  const wanted = {
    ...current,
    metadata: {
      ...current.metadata,
      // A Scale without a version means: whatever is there now.
      resourceVersion: metadata.resourceVersion || current.metadata.resourceVersion,
    },
    spec: { ...current.spec, replicas: spec?.replicas ?? 0 },
  };
  const result = await deps.resources.update(kind, wanted, { ...options, subresource: "scale" });
  await sendScale(exchange, writtenOrThrow(exchange, kind, name, result));
}

export async function patchScale(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind, namespace, name = "" } = route;
  const options = writeOptionsOf(exchange);
  const patch = await readPatch(exchange, route);
  await assertAllowed(deps, exchange.subject, route, { patch });
  const key = { namespace, name };
  const result = await deps.resources.patch(kind, key, patch, { ...options, subresource: "scale" });
  await sendScale(exchange, writtenOrThrow(exchange, kind, name, result));
}

function sendScale(exchange: Exchange, object: KubeObject): Promise<void> {
  return sendJson(exchange, 200, scaleOf(object));
}
