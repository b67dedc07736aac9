/** get and list. */
import type { KubeObject } from "../../api/index.ts";
import { assertAllowed } from "../access.ts";
import type { VerbDependencies } from "../dependencies.ts";
import { sendBytes, sendJson, type Exchange } from "../exchange.ts";
import { formOf, listBody, listHead, objectBody } from "../forms.ts";
import { pageOf, selectionOf } from "../query.ts";
import type { ResourceRoute } from "../route.ts";
import { failure, notFound } from "../status.ts";

export async function getObject(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  await assertAllowed(deps, exchange.subject, route);
  const form = formOf(exchange, deps.clock);
  const object = await fetchObject(deps, exchange, route);
  await sendJson(exchange, 200, objectBody(route.kind, object, form));
}

/** The object that the path names. Throws StatusError 404. */
export async function fetchObject(
  deps: VerbDependencies,
  exchange: Pick<Exchange, "signal">,
  route: ResourceRoute,
): Promise<KubeObject> {
  const { kind, namespace, name = "" } = route;
  const object = await deps.resources.get(kind, { namespace, name }, { signal: exchange.signal });
  if (!object) throw notFound(kind, name);
  return object;
}

export async function listObjects(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  await assertAllowed(deps, exchange.subject, route);
  const { query } = exchange;
  const form = formOf(exchange, deps.clock);
  const list = await deps.resources.list(route.kind, {
    ...selectionOf(exchange, route),
    ...pageOf(query),
  });
  const wanted = query.get("resourceVersion");
  if (query.get("resourceVersionMatch") === "Exact" && wanted !== list.resourceVersion) {
    throw failure("Expired", `resourceVersion ${wanted ?? ""} is not kept any more; list anew`);
  }
  if (form.form === "object") {
    const bytes = deps.encoder.list(listHead(route.kind, list), list.items);
    await sendBytes(exchange, 200, bytes, "application/json");
    return;
  }
  await sendJson(exchange, 200, listBody(route.kind, list, form));
}
