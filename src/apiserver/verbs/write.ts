/** create, update and patch of whole objects and of their status. */
import { assertAllowed } from "../access.ts";
import { readBody } from "../body.ts";
import type { VerbDependencies } from "../dependencies.ts";
import { sendJson, type Exchange } from "../exchange.ts";
import { formOf, objectBody } from "../forms.ts";
import { fieldValidationOf, writeOptionsOf } from "../query.ts";
import { isTrue, type ResourceRoute } from "../route.ts";
import { badRequest, failure } from "../status.ts";
import type { Patch, WriteOptions } from "../../resources/index.ts";
import { readObject } from "./incoming.ts";
import { pinnedObject, pinnedPatch } from "./pin.ts";
import { writtenOrThrow } from "./outcome.ts";

const validationByWord = { Strict: "strict", Warn: "warn", Ignore: "ignore" } as const;

function optionsOf(exchange: Exchange): WriteOptions & { fieldManager: string } {
  const fieldValidation = validationByWord[fieldValidationOf(exchange.query)];
  return { ...writeOptionsOf(exchange), fieldValidation };
}

export async function createObject(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind } = route;
  const form = formOf(exchange, deps.clock);
  const options = optionsOf(exchange);
  const object = await readObject(exchange, route);
  await assertAllowed(deps, exchange.subject, route, { object });
  const result = await deps.resources.create(kind, object, options);
  const name = object.metadata.name || (object.metadata.generateName ?? "");
  const created = writtenOrThrow(exchange, kind, name, result);
  await sendJson(exchange, 201, objectBody(kind, created, form));
}

export async function updateObject(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind, name = "" } = route;
  const form = formOf(exchange, deps.clock);
  const options = optionsOf(exchange);
  const object = await readObject(exchange, route);
  const { stored } = await assertAllowed(deps, exchange.subject, route, { object });
  const subresource = route.subresource === "status" ? "status" : undefined;
  const result = await deps.resources.update(kind, pinnedObject(object, stored), {
    ...options,
    subresource,
  });
  const updated = writtenOrThrow(exchange, kind, name, result);
  await sendJson(exchange, 200, objectBody(kind, updated, form));
}

const patchTypes = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
  "application/apply-patch+yaml": "apply",
} as const;

export async function patchObject(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind, namespace, name = "" } = route;
  const form = formOf(exchange, deps.clock);
  const options = optionsOf(exchange);
  const patch = await readPatch(exchange, route);
  const { stored } = await assertAllowed(deps, exchange.subject, route, { patch });
  const subresource = route.subresource === "status" ? "status" : undefined;
  const result = await deps.resources.patch(kind, { namespace, name }, pinnedPatch(patch, stored), {
    ...options,
    subresource,
  });
  const patched = writtenOrThrow(exchange, kind, name, result);
  await sendJson(exchange, 200, objectBody(kind, patched, form));
}

/** Kinds of ours have no compiled type in clients that a strategic merge could go by. */
const ownGroup = "skerry.dev";

/** Throws StatusError: 415 for other media types, 400 for a body of the wrong shape. */
export async function readPatch(exchange: Exchange, route: ResourceRoute): Promise<Patch> {
  const { request, query } = exchange;
  const contentType = (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim() ?? "";
  const type = Object.hasOwn(patchTypes, contentType)
    ? patchTypes[contentType as keyof typeof patchTypes]
    : undefined;
  const isOwn = route.kind.group === ownGroup;
  if (type === undefined || (type === "strategic" && isOwn)) {
    const supported = Object.keys(patchTypes).filter(
      (known) => !(isOwn && known.includes("strategic")),
    );
    throw failure(
      "UnsupportedMediaType",
      `the body of the request was in an unknown format ("${contentType}") - accepted media types include: ${supported.join(", ")}`,
    );
  }
  const value = (await readBody(request))?.value;
  if (type === "json") {
    if (Array.isArray(value)) return { type, body: value };
    throw badRequest("a JSON patch is a list of operations (RFC 6902)");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw badRequest(`a ${type} patch is an object`);
  }
  if (type !== "apply") {
    if (query.has("force")) throw badRequest("force: only an apply patch can be forced");
    return { type, body: value };
  }
  if (!query.get("fieldManager")) {
    throw badRequest("fieldManager: is required for an apply patch", [
      { field: "fieldManager", message: "is required for an apply patch" },
    ]);
  }
  return { type, body: value, force: isTrue(query.get("force")) };
}
