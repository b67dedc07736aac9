/**
 * Who may do what with the cell's API. A pure table, default deny: `user/admin` may all, `node/NAME`
 * what `node.ts` lists, nobody else anything.
 */
import { involvedObjectOf, authorizeNode } from "./node.ts";
import type { AccessRequest, Decision, StoredFacts } from "./request.ts";
import { nameOf, type Subject } from "./subject.ts";

/** The user that may do everything: whoever holds the cell's first kubeconfig. */
const administrator = "admin";

/** Paths outside the resources that every known identity may read, so that clients can find their way. */
const discoveryPaths = ["/api", "/apis", "/version", "/openapi"];

/**
 * Decides one request. `facts` must hold what `factsNeeded` asked for, read from storage; without
 * them a node is refused.
 */
export function authorize(
  subject: Subject,
  request: AccessRequest,
  facts: StoredFacts = {},
): Decision {
  const user = nameOf(subject, "user");
  if (user === administrator) return { state: "allow" };
  const node = nameOf(subject, "node");
  if (node !== undefined) return authorizeNode(node, request, facts);
  return {
    state: "deny",
    reason: `${subject.id} may not ${request.verb} ${request.resource}: no rule allows it`,
  };
}

/** What `authorize` must be told about storage; nothing for users and for reads. */
export function factsNeeded(
  subject: Subject,
  request: AccessRequest,
): { readonly stored: boolean; readonly involvesPod: boolean } {
  const none = { stored: false, involvesPod: false };
  if (nameOf(subject, "node") === undefined) return none;
  if (request.verb === "get" || request.verb === "list" || request.verb === "watch") return none;
  const isEvent = request.group === "" && request.resource === "events";
  const isGuarded = request.group === "" && /^(?:nodes|pods|events)$/.test(request.resource);
  return {
    stored: isGuarded && request.name !== undefined && request.verb !== "create",
    involvesPod: isEvent && (request.verb === "create" || request.verb === "patch"),
  };
}

/** The key of the pod that an Event is about; undefined when it is about something else. */
export function involvedPodKey(
  event: Parameters<typeof involvedObjectOf>[0],
): { name: string; namespace: string } | undefined {
  const involved = involvedObjectOf(event);
  if (involved?.kind !== "Pod" || involved.namespace === undefined) return undefined;
  return { name: involved.name, namespace: involved.namespace };
}

/** Decides a path that is no resource: discovery is open to every known identity. */
export function authorizePath(subject: Subject, path: string): Decision {
  if (nameOf(subject, "user") === administrator) return { state: "allow" };
  const open = discoveryPaths.some((known) => path === known || path.startsWith(`${known}/`));
  return open
    ? { state: "allow" }
    : { state: "deny", reason: `${subject.id} may not read ${path}` };
}
