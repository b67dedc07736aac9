/** delete, deletecollection, and eviction, which is a delete that asks politely. */
import { apiVersionOf, type KubeObject } from "../../api/index.ts";
import type { DeleteOptions } from "../../resources/index.ts";
import { assertAllowed } from "../access.ts";
import { readBody } from "../body.ts";
import type { VerbDependencies } from "../dependencies.ts";
import { sendJson, sendStatus, type Exchange } from "../exchange.ts";
import { countOf, selectionOf, writeOptionsOf } from "../query.ts";
import type { ResourceRoute } from "../route.ts";
import { badRequest, success } from "../status.ts";
import { isRecord } from "./incoming.ts";
import { writtenOrThrow } from "./outcome.ts";

export async function deleteObject(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const options = deleteOptionsOf(exchange, (await readBody(exchange.request))?.value);
  const deleted = await remove(deps, exchange, route, options);
  // An object with a deletionTimestamp is still there, and clients wait for it to go.
  if (deleted.metadata.deletionTimestamp !== undefined && options.gracePeriodSeconds !== 0) {
    return sendJson(exchange, 200, deleted);
  }
  const { group, plural } = route.kind;
  const { name, uid } = deleted.metadata;
  return sendStatus(exchange, success({ name, group, kind: plural, uid }));
}

async function remove(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
  options: DeleteOptions,
): Promise<KubeObject> {
  const { kind, namespace, name = "" } = route;
  const { gracePeriodSeconds } = options;
  const { stored } = await assertAllowed(deps, exchange.subject, route, { gracePeriodSeconds });
  // What was allowed is the deletion of this very object, not of a later one of the same name.
  const uid = options.preconditions?.uid ?? stored?.metadata.uid;
  const preconditions = { ...options.preconditions, ...(uid === undefined ? {} : { uid }) };
  const result = await deps.resources.delete(
    kind,
    { namespace, name },
    { ...options, preconditions },
  );
  return writtenOrThrow(exchange, kind, name, result);
}

/** POST pods/NAME/eviction */
export async function evictPod(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const body = (await readBody(exchange.request))?.value;
  const problem = evictionProblem(body, route.name);
  if (problem !== undefined) throw badRequest(problem);
  const options = deleteOptionsOf(exchange, isRecord(body) ? body["deleteOptions"] : undefined);
  await assertAllowed(deps, exchange.subject, route);
  const result = await deps.resources.delete(
    route.kind,
    { namespace: route.namespace, name: route.name ?? "" },
    options,
  );
  writtenOrThrow(exchange, route.kind, route.name ?? "", result);
  await sendStatus(exchange, success(undefined, 201));
}

function evictionProblem(body: unknown, name: string | undefined): string | undefined {
  if (!isRecord(body) || body["kind"] !== "Eviction") return "the body must be an Eviction";
  const metadata = body["metadata"];
  const given = isRecord(metadata) ? metadata["name"] : undefined;
  return given === undefined || given === name
    ? undefined
    : `the name of the eviction (${String(given)}) does not match the name on the URL (${String(name)})`;
}

const pageItems = 200;

export async function deleteCollection(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  const { kind } = route;
  const options = deleteOptionsOf(exchange, (await readBody(exchange.request))?.value);
  await assertAllowed(deps, exchange.subject, route, options);
  const selection = selectionOf(exchange, route);
  const deleted: KubeObject[] = [];
  let continueToken: string | undefined;
  do {
    const page = await deps.resources.list(kind, { ...selection, limit: pageItems, continueToken });
    for (const { metadata } of page.items) {
      const key = { namespace: metadata.namespace, name: metadata.name };
      const preconditions = { uid: metadata.uid };
      const result = await deps.resources.delete(kind, key, { ...options, preconditions });
      // Somebody else was faster: gone is what was asked for.
      if (result.state === "refused" && result.reason === "not-found") continue;
      deleted.push(writtenOrThrow(exchange, kind, metadata.name, result));
    }
    ({ continueToken } = page);
  } while (continueToken !== undefined);
  await sendJson(exchange, 200, {
    kind: `${kind.kind}List`,
    apiVersion: apiVersionOf(kind),
    metadata: {},
    items: deleted,
  });
}

const policies = ["Background", "Foreground", "Orphan"] as const;

/** From the query and a `DeleteOptions` body; the query wins. Throws StatusError naming the field. */
function deleteOptionsOf(exchange: Exchange, body: unknown): DeleteOptions {
  const given = body ?? {};
  if (!isRecord(given)) throw badRequest("the body of a delete must be DeleteOptions");
  const { query } = exchange;
  const dryRun = given["dryRun"] ?? [];
  if (!Array.isArray(dryRun)) throw badRequest("dryRun: must be a list");
  return {
    ...writeOptionsOf(exchange, dryRun),
    ...graceOf(countOf(query, "gracePeriodSeconds") ?? given["gracePeriodSeconds"]),
    ...policyOf(query.get("propagationPolicy") || given["propagationPolicy"]),
    ...preconditionsOf(given["preconditions"]),
  };
}

function graceOf(value: unknown): Pick<DeleteOptions, "gracePeriodSeconds"> {
  if (value === undefined || value === null) return {};
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) {
    return { gracePeriodSeconds: value };
  }
  const message = `"${String(value)}" is not a whole number from 0`;
  throw badRequest(`gracePeriodSeconds: ${message}`, [{ field: "gracePeriodSeconds", message }]);
}

function policyOf(value: unknown): Pick<DeleteOptions, "propagationPolicy"> {
  if (value === undefined || value === null || value === "") return {};
  const policy = policies.find((known) => known === value);
  if (policy) return { propagationPolicy: policy };
  const message = `"${String(value)}" is none of ${policies.join(", ")}`;
  throw badRequest(`propagationPolicy: ${message}`, [{ field: "propagationPolicy", message }]);
}

function preconditionsOf(value: unknown): Pick<DeleteOptions, "preconditions"> {
  if (value === undefined || value === null) return {};
  if (!isRecord(value)) throw badRequest("preconditions: must be an object");
  const { uid, resourceVersion } = value;
  return {
    preconditions: {
      ...(typeof uid === "string" ? { uid } : {}),
      ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
    },
  };
}
