/** Questions about the asker: `kubectl auth can-i` and `kubectl auth whoami`. */
import { authorizePath } from "../../authorization/index.ts";
import { decide } from "../access.ts";
import { readBody } from "../body.ts";
import type { VerbDependencies } from "../dependencies.ts";
import { sendJson, type Exchange } from "../exchange.ts";
import { badRequest } from "../status.ts";
import { isRecord } from "./incoming.ts";

/** POST authentication.k8s.io/v1 selfsubjectreviews */
export async function reviewSelf(exchange: Exchange): Promise<void> {
  await readBody(exchange.request);
  await sendJson(exchange, 201, {
    kind: "SelfSubjectReview",
    apiVersion: "authentication.k8s.io/v1",
    metadata: {},
    status: { userInfo: { username: exchange.subject.id, groups: ["system:authenticated"] } },
  });
}

/** POST authorization.k8s.io/v1 selfsubjectaccessreviews */
export async function reviewAccess(deps: VerbDependencies, exchange: Exchange): Promise<void> {
  const body = (await readBody(exchange.request))?.value;
  const spec = isRecord(body) ? body["spec"] : undefined;
  if (!isRecord(spec)) throw badRequest("spec: a SelfSubjectAccessReview needs one");
  const decision = await decideReview(deps, exchange, spec);
  await sendJson(exchange, 201, {
    kind: "SelfSubjectAccessReview",
    apiVersion: "authorization.k8s.io/v1",
    metadata: {},
    spec,
    status:
      decision.state === "allow" ? { allowed: true } : { allowed: false, reason: decision.reason },
  });
}

async function decideReview(
  deps: VerbDependencies,
  exchange: Exchange,
  spec: Record<string, unknown>,
) {
  const { resourceAttributes, nonResourceAttributes } = spec;
  if (isRecord(nonResourceAttributes)) {
    return authorizePath(exchange.subject, text(nonResourceAttributes, "path") ?? "");
  }
  if (!isRecord(resourceAttributes)) {
    throw badRequest("spec: needs resourceAttributes or nonResourceAttributes");
  }
  const { decision } = await decide(deps, exchange.subject, {
    verb: text(resourceAttributes, "verb") ?? "",
    group: text(resourceAttributes, "group") ?? "",
    resource: text(resourceAttributes, "resource") ?? "",
    subresource: text(resourceAttributes, "subresource"),
    namespace: text(resourceAttributes, "namespace"),
    name: text(resourceAttributes, "name"),
  });
  return decision;
}

/** Absent and empty mean the same here. */
function text(attributes: Record<string, unknown>, field: string): string | undefined {
  const value = attributes[field];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string") return value;
  throw badRequest(`spec.*.${field}: must be text`);
}
