/** From a patch to the object it asks for. */
import {
  apiVersionOf,
  isScalable,
  pruneFields,
  scaleOf,
  scaleSchema,
  structureOf,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../../api/index.ts";
import { applyConfiguration } from "../apply/apply.ts";
import { applyJsonPatch } from "../patch/json-patch.ts";
import { applyMergePatch } from "../patch/merge-patch.ts";
import { applyStrategicPatch } from "../patch/strategic.ts";
import { isObject, type PatchOutcome } from "../patch/values.ts";
import type { Patch, WriteRefusal } from "../resources.ts";
import {
  decideCreate,
  decideUpdate,
  refused,
  timestamp,
  type Decision,
  type Writer,
} from "./decide.ts";

type PlainPatch = Exclude<Patch, { type: "apply" }>;
type ApplyPatch = Extract<Patch, { type: "apply" }>;

export function decidePatch(
  kind: KindDefinition,
  live: KubeObject,
  patch: PlainPatch,
  writer: Writer,
): Decision {
  if (writer.subresource === "scale") {
    const view = patched(structureOf(scaleSchema), scaleOf(live), patch);
    return view.ok ? decideScale(kind, live, view.value, writer) : problem(view);
  }
  const next = patched(structureOf(kind.schema), live, patch);
  if (!next.ok) return problem(next);
  const { metadata } = live;
  if (!isObject(next.value) || !isObject(next.value["metadata"]))
    return problem({ field: "metadata", message: "must be an object" });
  const { name, namespace } = next.value["metadata"];
  if (name !== metadata.name || (namespace ?? undefined) !== metadata.namespace) {
    return problem({
      field: "metadata.name",
      message: `a patch cannot rename or move ${metadata.name}`,
    });
  }
  return decideUpdate(kind, live, next.value as unknown as KubeObject, writer);
}

/** `view` is a Scale, or any object with the wanted number in `spec.replicas`. */
export function decideScale(
  kind: KindDefinition,
  live: KubeObject,
  view: unknown,
  writer: Writer,
): Decision {
  const metadata = isObject(view) && isObject(view["metadata"]) ? view["metadata"] : {};
  const spec = isObject(view) && isObject(view["spec"]) ? view["spec"] : {};
  const replicas = spec["replicas"];
  if (typeof replicas !== "number" || !Number.isInteger(replicas) || replicas < 0) {
    return problem({
      field: "spec.replicas",
      message: `${JSON.stringify(replicas) ?? "nothing"} must be a whole number from 0`,
    });
  }
  if (!isScalable(live)) return refused("not-found", `${kind.plural} cannot be scaled`);
  const next: KubeObject = {
    ...live,
    spec: { ...live.spec, replicas },
    metadata: {
      ...live.metadata,
      uid: text(metadata["uid"]),
      resourceVersion: text(metadata["resourceVersion"]),
    },
  } as KubeObject;
  return decideUpdate(kind, live, next, writer);
}

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

function patched(
  structure: Parameters<typeof applyStrategicPatch>[0],
  target: unknown,
  patch: PlainPatch,
): PatchOutcome {
  switch (patch.type) {
    case "json":
      return Array.isArray(patch.body)
        ? applyJsonPatch(target, patch.body)
        : { ok: false, field: "", message: "a JSON patch must be a list of operations" };
    case "merge":
      return isObject(patch.body)
        ? { ok: true, value: applyMergePatch(target, patch.body) }
        : { ok: false, field: "", message: "a merge patch must be an object" };
    case "strategic":
      return applyStrategicPatch(structure, target, patch.body);
    default:
      return patch satisfies never;
  }
}

export function decideApply(
  kind: KindDefinition,
  live: KubeObject | undefined,
  key: ObjectKey,
  patch: ApplyPatch,
  writer: Writer & { uid: string },
): Decision {
  const config = configOf(kind, key, patch.body);
  if ("reason" in config) return config;
  const { object, unknown } = config;
  const strict = (writer.fieldValidation ?? "strict") === "strict";
  if (unknown.length > 0 && strict) {
    const causes = unknown.map((field) => ({ field, message: "unknown field" }));
    return refused("invalid", `unknown field ${unknown.join(", ")}`, causes);
  }
  if (!live && writer.subresource !== undefined)
    return refused("not-found", `${kind.plural} "${key.name}" not found`);
  const subresource = writer.subresource === "status" ? "status" : undefined;
  const outcome = applyConfiguration(kind, live, object, {
    manager: writer.manager,
    force: patch.force ?? false,
    subresource,
    time: timestamp(writer.nowMs),
  });
  const given = { ...writer, managed: "given" } as const;
  const warn = (decision: Decision): Decision =>
    writer.fieldValidation === "warn" &&
    unknown.length > 0 &&
    (decision.state === "write" || decision.state === "keep")
      ? { ...decision, warnings: unknown.map((field) => `unknown field "${field}"`) }
      : decision;
  switch (outcome.state) {
    case "conflict":
      return refused("conflict", outcome.message, outcome.causes);
    case "invalid":
      return problem(outcome);
    case "applied":
      return warn(
        live
          ? decideUpdate(kind, live, outcome.object, given)
          : decideCreate(kind, outcome.object, given),
      );
    default:
      return outcome satisfies never;
  }
}

function configOf(
  kind: KindDefinition,
  key: ObjectKey,
  body: unknown,
): { object: KubeObject; unknown: readonly string[] } | WriteRefusal {
  const { value, unknown } = pruneFields(kind, body);
  if (!isObject(value))
    return problem({ field: "", message: "an apply configuration must be an object" });
  const wanted = { apiVersion: apiVersionOf(kind), kind: kind.kind };
  for (const [field, want] of Object.entries(wanted)) {
    if (value[field] !== want)
      return problem({
        field,
        message: `${JSON.stringify(value[field]) ?? "nothing"} must be "${want}"`,
      });
  }
  const metadata = isObject(value["metadata"]) ? value["metadata"] : {};
  if (metadata["name"] !== undefined && metadata["name"] !== key.name) {
    return problem({
      field: "metadata.name",
      message: `${JSON.stringify(metadata["name"])} is not the name of the request, "${key.name}"`,
    });
  }
  const named = {
    ...metadata,
    name: key.name,
    ...(kind.namespaced ? { namespace: key.namespace } : {}),
  };
  return { object: { ...value, metadata: named } as unknown as KubeObject, unknown };
}

function problem({ field, message }: { field: string; message: string }): WriteRefusal {
  return refused("invalid", field === "" ? message : `${field}: ${message}`, [{ field, message }]);
}
