/** One resource request to the verb that answers it. */
import type { VerbDependencies } from "./dependencies.ts";
import type { Exchange } from "./exchange.ts";
import { resolveRoute, type PathParts, type ResourceRoute } from "./route.ts";
import { failure, serverLost } from "./status.ts";
import { streamPodLog } from "./streams/pod-log.ts";
import { deleteCollection, deleteObject, evictPod } from "./verbs/delete.ts";
import { getObject, listObjects } from "./verbs/read.ts";
import { reviewAccess, reviewSelf } from "./verbs/reviews.ts";
import { getScale, patchScale, updateScale } from "./verbs/scale.ts";
import { watchObjects } from "./verbs/watch.ts";
import { createObject, patchObject, updateObject } from "./verbs/write.ts";

export async function dispatchResource(
  deps: VerbDependencies,
  exchange: Exchange,
  parts: PathParts,
): Promise<void> {
  const reviewed = await dispatchReview(deps, exchange, parts);
  if (reviewed) return;
  const route = resolveRoute(deps.index, parts, exchange.method, exchange.query);
  const isRead = route.verb === "get" || route.verb === "list" || route.verb === "watch";
  if (exchange.standIn && !isRead) {
    throw serverLost("no server of this cell can be reached, so desired state cannot be changed");
  }
  await dispatchVerb(deps, exchange, route);
}

function dispatchVerb(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  if (route.subresource === "log") return streamPodLog(deps, exchange, route);
  if (route.subresource === "eviction") return evictPod(deps, exchange, route);
  const isScale = route.subresource === "scale";
  switch (route.verb) {
    case "get":
      return isScale ? getScale(deps, exchange, route) : getObject(deps, exchange, route);
    case "list":
      return listObjects(deps, exchange, route);
    case "watch":
      return watchObjects(deps, exchange, route);
    case "create":
      return createObject(deps, exchange, route);
    case "update":
      return isScale ? updateScale(deps, exchange, route) : updateObject(deps, exchange, route);
    case "patch":
      return isScale ? patchScale(deps, exchange, route) : patchObject(deps, exchange, route);
    case "delete":
      return deleteObject(deps, exchange, route);
    case "deletecollection":
      return deleteCollection(deps, exchange, route);
  }
}

async function dispatchReview(
  deps: VerbDependencies,
  exchange: Exchange,
  parts: PathParts,
): Promise<boolean> {
  const { group, version, plural } = parts;
  const known = `${group}/${version}/${plural}`;
  const isSelf = known === "authentication.k8s.io/v1/selfsubjectreviews";
  const isAccess = known === "authorization.k8s.io/v1/selfsubjectaccessreviews";
  if (!isSelf && !isAccess) return false;
  if (exchange.method !== "POST" || parts.name !== undefined) {
    throw failure("MethodNotAllowed", `only POST is allowed on ${plural}`);
  }
  await (isSelf ? reviewSelf(exchange) : reviewAccess(deps, exchange));
  return true;
}
