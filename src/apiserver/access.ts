/** Asks authorization about a request, with the facts that it needs from storage. */
import { podKind, type KubeObject } from "../api/index.ts";
import {
  factsNeeded,
  involvedPodKey,
  type AccessRequest,
  type Decision,
  type StoredFacts,
  type Subject,
} from "../authorization/index.ts";
import type { VerbDependencies } from "./dependencies.ts";
import { failure } from "./status.ts";
import type { ResourceRoute } from "./route.ts";

/** Throws StatusError 403. Returns what storage held, for preconditions that close the gap in time. */
export async function assertAllowed(
  deps: VerbDependencies,
  subject: Subject,
  route: ResourceRoute,
  change: Pick<AccessRequest, "object" | "patch" | "gracePeriodSeconds"> = {},
): Promise<StoredFacts> {
  const request: AccessRequest = {
    verb: route.verb,
    group: route.kind.group,
    resource: route.kind.plural,
    subresource: route.subresource,
    namespace: route.namespace,
    name: route.name,
    ...change,
  };
  const { decision, facts } = await decide(deps, subject, request);
  if (decision.state === "allow") return facts;
  const { verb, group, resource, subresource, namespace, name } = request;
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  const where =
    namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  throw failure(
    "Forbidden",
    `${group === "" ? resource : `${resource}.${group}`}${name === undefined ? "" : ` "${name}"`} is forbidden: User "${subject.id}" cannot ${verb} resource "${what}" in API group "${group}" ${where}: ${decision.reason}`,
    { name, group, kind: resource },
  );
}

/** The decision alone, as reviews tell it. */
export async function decide(
  deps: VerbDependencies,
  subject: Subject,
  request: AccessRequest,
): Promise<{ decision: Decision; facts: StoredFacts }> {
  const facts = await factsFor(deps, subject, request);
  return { decision: deps.authorize(subject, request, facts), facts };
}

async function factsFor(
  deps: VerbDependencies,
  subject: Subject,
  request: AccessRequest,
): Promise<StoredFacts> {
  const needed = factsNeeded(subject, request);
  const { group, resource, namespace, name } = request;
  const kind = deps.index.kinds.find((one) => one.group === group && one.plural === resource);
  let stored: KubeObject | undefined;
  if (needed.stored && kind && name !== undefined) {
    stored = await deps.resources.get(kind, { namespace, name });
  }
  const podKey = needed.involvesPod ? involvedPodKey(request.object ?? stored) : undefined;
  const involvedPod = podKey && (await deps.resources.get(podKind, podKey));
  return { stored, involvedPod };
}
