/**
 * What a node's identity may do, after Kubernetes' NodeRestriction admission: read the desired state
 * that it mirrors, write what is its own. A stolen agent thus reaches no further than its machine.
 */
import { nodeLeaseNamespace, serverRoleLabel, type KubeObject } from "../api/index.ts";
import {
  bodyFields,
  changedLabels,
  isPlainObject,
  patchTouchesOnly,
  sameContent,
  type FieldPaths,
} from "./changes.ts";
import type { AccessRequest, Decision, StoredFacts } from "./request.ts";

/** What the mirror of a node holds, by `group/plural`; every kind of `skerry.dev` comes on top. */
const readable: ReadonlySet<string> = new Set([
  "/nodes",
  "/pods",
  "/services",
  "/endpoints",
  "/configmaps",
  "/namespaces",
  "/events",
  "apps/deployments",
  "apps/replicasets",
  "networking.k8s.io/ingresses",
  "coordination.k8s.io/leases",
]);
const ownGroup = "skerry.dev";

/** Label domains that carry meaning for the cell: a node describes itself, it gives itself no role. */
const guardedDomains = ["kubernetes.io", "k8s.io", "skerry.dev"];
const ownLabels: ReadonlySet<string> = new Set([
  "kubernetes.io/hostname",
  "kubernetes.io/os",
  "kubernetes.io/arch",
  "node.kubernetes.io/instance-type",
  "topology.kubernetes.io/region",
  "topology.kubernetes.io/zone",
]);
const ownLabelDomains = ["node.kubernetes.io", "kubelet.kubernetes.io", "node.skerry.dev"];

/** Metadata that a status write may carry to say which object, or which version of it, it means. */
const identifyingMetadata: FieldPaths = [
  ["apiVersion"],
  ["kind"],
  ["metadata", "name"],
  ["metadata", "namespace"],
  ["metadata", "uid"],
  ["metadata", "resourceVersion"],
];
const statusFields: FieldPaths = [["status"], ...identifyingMetadata];
const nodeFields: FieldPaths = [
  ["metadata", "labels"],
  ["metadata", "annotations"],
  ...identifyingMetadata,
];
const eventFields: FieldPaths = [
  ["count"],
  ["series"],
  ["lastTimestamp"],
  ["message"],
  ...identifyingMetadata,
];

const allow: Decision = { state: "allow" };
const deny = (reason: string): Decision => ({ state: "deny", reason });

export function authorizeNode(node: string, request: AccessRequest, facts: StoredFacts): Decision {
  if (request.verb === "get" || request.verb === "list" || request.verb === "watch") {
    return authorizeRead(node, request);
  }
  // Apply removes what its manager set before and now leaves out, and anybody may claim a manager's
  // name: it reaches fields that the body does not mention.
  if (request.patch?.type === "apply") return deny(`node ${node} may not send apply patches`);
  switch (`${request.group}/${request.resource}`) {
    case "/nodes":
      return authorizeNodeWrite(node, request, facts);
    case "/pods":
      return authorizePodWrite(node, request, facts);
    case "/events":
      return authorizeEventWrite(node, request, facts);
    case "coordination.k8s.io/leases":
      return authorizeLeaseWrite(node, request);
    default:
      return deny(`node ${node} may not ${request.verb} ${request.resource}`);
  }
}

function authorizeRead(node: string, request: AccessRequest): Decision {
  const { group, resource, subresource } = request;
  const known = readable.has(`${group}/${resource}`) || group === ownGroup;
  if (known && (subresource === undefined || subresource === "status")) return allow;
  return deny(
    `node ${node} may not read ${subresource === undefined ? resource : `${resource}/${subresource}`}`,
  );
}

function authorizeNodeWrite(node: string, request: AccessRequest, facts: StoredFacts): Decision {
  const name = request.name ?? request.object?.metadata.name;
  if (name !== node || (request.object && request.object.metadata.name !== node)) {
    return deny(`node ${node} may not change node ${String(name)}`);
  }
  const { verb, subresource } = request;
  if (subresource === "status" && (verb === "update" || verb === "patch")) {
    return authorizeStatus(node, request, facts);
  }
  if (subresource !== undefined) return deny(`node ${node} may not ${verb} nodes/${subresource}`);
  if (verb === "create") return authorizeLabels(node, changedLabels(undefined, request.object));
  if (verb === "update") {
    if (!facts.stored) return deny(`node ${node} is not registered`);
    if (!sameContent(bodyFields(request.object, "spec"), bodyFields(facts.stored, "spec"))) {
      return deny(`node ${node} may not change its own spec (taints, unschedulable)`);
    }
    return authorizeLabels(node, changedLabels(facts.stored, request.object));
  }
  if (verb === "patch" && request.patch) {
    const stray = patchTouchesOnly(request.patch, nodeFields);
    if (stray !== undefined) return deny(`node ${node} may not change ${stray} of its own Node`);
    // JSON patches move and copy, and so reach labels that they do not name.
    if (request.patch.type === "json") {
      return deny(`node ${node} may change its own Node by merge patches only`);
    }
    const labels = labelsOfPatch(request.patch.body);
    if (labels === undefined) return deny(`node ${node}: metadata.labels must be an object`);
    // It gives itself no role, but it may say that it is no server any more: a worker says so at each start.
    const isFarewell = (label: string) => label === serverRoleLabel && labels[label] === null;
    return authorizeLabels(
      node,
      Object.keys(labels).filter((label) => !isFarewell(label)),
    );
  }
  return deny(`node ${node} may not ${verb} its own Node`);
}

/** Labels named by a patch body; undefined when they are no object. */
function labelsOfPatch(body: unknown): Readonly<Record<string, unknown>> | undefined {
  if (!isPlainObject(body)) return undefined;
  const metadata = body["metadata"];
  if (metadata === undefined) return {};
  if (!isPlainObject(metadata)) return undefined;
  const labels = metadata["labels"] ?? {};
  // `labels: null` would remove every label, those of the cell among them.
  if (metadata["labels"] === null) return undefined;
  return isPlainObject(labels) ? labels : undefined;
}

function authorizeLabels(node: string, changed: readonly string[]): Decision {
  const forbidden = changed.find((label) => !mayLabelItself(label));
  return forbidden === undefined
    ? allow
    : deny(`node ${node} may not set or remove the label ${forbidden} on itself`);
}

function mayLabelItself(label: string): boolean {
  // Strategic merge directives ($patch: replace) would reach labels that the body does not name.
  if (label.startsWith("$")) return false;
  const [domain, name] = label.includes("/") ? label.split("/", 2) : [undefined, label];
  if (domain === undefined || name === undefined || ownLabels.has(label)) return true;
  if (ownLabelDomains.some((own) => isWithin(domain, own))) return true;
  return !guardedDomains.some((guarded) => isWithin(domain, guarded));
}

const isWithin = (domain: string, parent: string) =>
  domain === parent || domain.endsWith(`.${parent}`);

function authorizePodWrite(node: string, request: AccessRequest, facts: StoredFacts): Decision {
  const { verb, subresource, name } = request;
  const isStatus = subresource === "status" && (verb === "update" || verb === "patch");
  const isConfirmation = verb === "delete" && subresource === undefined;
  if (!isStatus && !isConfirmation) {
    const what = subresource === undefined ? "pods" : `pods/${subresource}`;
    return deny(`node ${node} may not ${verb} ${what}`);
  }
  if (!isBoundTo(facts.stored, node)) {
    return deny(`node ${node} may not ${verb} pod ${String(name)}: it is not bound to this node`);
  }
  if (isStatus) return authorizeStatus(node, request, facts);
  if (request.gracePeriodSeconds !== 0) {
    return deny(`node ${node} may delete its pods with gracePeriodSeconds 0 only`);
  }
  return facts.stored?.metadata.deletionTimestamp === undefined
    ? deny(`node ${node} may only confirm a deletion, and nobody deleted pod ${String(name)}`)
    : allow;
}

/** Status only: labels, finalizers and owners that ride along with it are refused. */
function authorizeStatus(node: string, request: AccessRequest, facts: StoredFacts): Decision {
  if (request.patch) {
    const stray = patchTouchesOnly(request.patch, statusFields);
    return stray === undefined
      ? allow
      : deny(`node ${node} may not change ${stray} through the status of ${request.resource}`);
  }
  for (const field of ["labels", "annotations", "finalizers", "ownerReferences"] as const) {
    const wanted = request.object?.metadata[field];
    if (wanted !== undefined && !sameContent(wanted, facts.stored?.metadata[field])) {
      return deny(`node ${node} may not change metadata.${field} through a status`);
    }
  }
  return request.object === undefined ? deny(`node ${node}: a status needs a body`) : allow;
}

function authorizeLeaseWrite(node: string, request: AccessRequest): Decision {
  const { verb, subresource, namespace } = request;
  const name = request.name ?? request.object?.metadata.name;
  const own =
    namespace === nodeLeaseNamespace &&
    name === node &&
    (request.object === undefined || request.object.metadata.name === node);
  const verbAllowed = verb === "create" || verb === "update" || verb === "patch";
  return own && verbAllowed && subresource === undefined
    ? allow
    : deny(
        `node ${node} may write only the lease ${nodeLeaseNamespace}/${node}, not ${verb} ${String(namespace)}/${String(name)}`,
      );
}

function authorizeEventWrite(node: string, request: AccessRequest, facts: StoredFacts): Decision {
  const { verb, subresource } = request;
  if (subresource === undefined && verb === "create" && request.object) {
    return isAboutSelf(node, request.object, facts) || isAboutOwnCopy(node, request.object)
      ? allow
      : deny(
          `node ${node} may report only about itself, the pods bound to it and its own copy of a stream`,
        );
  }
  if (subresource === undefined && verb === "patch" && request.patch && facts.stored) {
    const stray = patchTouchesOnly(request.patch, eventFields);
    if (stray !== undefined) return deny(`node ${node} may not change ${stray} of an event`);
    return isAboutSelf(node, facts.stored, facts)
      ? allow
      : deny(`node ${node} may not change events about others`);
  }
  return deny(`node ${node} may not ${verb} events`);
}

/** Whom an Event is about, as its `involvedObject` says. */
export function involvedObjectOf(
  event: KubeObject | undefined,
): { kind: string; name: string; namespace: string | undefined } | undefined {
  const involved = bodyFields(event, "involvedObject");
  if (!isPlainObject(involved)) return undefined;
  const { kind, name, namespace } = involved;
  if (typeof kind !== "string" || typeof name !== "string") return undefined;
  return { kind, name, namespace: typeof namespace === "string" ? namespace : undefined };
}

function isAboutSelf(node: string, event: KubeObject, facts: StoredFacts): boolean {
  const involved = involvedObjectOf(event);
  if (involved?.kind === "Node") return involved.name === node;
  return (
    involved?.kind === "Pod" &&
    isBoundTo(facts.involvedPod, node) &&
    facts.involvedPod?.metadata.name === involved.name &&
    facts.involvedPod.metadata.namespace === involved.namespace
  );
}

/** Damage that a node found in what it holds of a stream: in its own name, and in the text for people as well. */
function isAboutOwnCopy(node: string, event: KubeObject): boolean {
  const { reason, message, reportingInstance } = event as unknown as Record<string, unknown>;
  return (
    involvedObjectOf(event)?.kind === "Stream" &&
    reason === "SegmentDamaged" &&
    reportingInstance === node &&
    typeof message === "string" &&
    message.startsWith(`${node}: `)
  );
}

function isBoundTo(pod: KubeObject | undefined, node: string): boolean {
  const spec = bodyFields(pod, "spec");
  return isPlainObject(spec) && spec["nodeName"] === node;
}
