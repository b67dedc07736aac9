/**
 * What a write means for the object that is there: pure decisions, which `writing.ts` carries out
 * under the condition that the object is still the one that was looked at.
 */
import {
  checkObject,
  sameValue,
  structureOf,
  type KindDefinition,
  type KubeObject,
  type ObjectMeta,
} from "../../api/index.ts";
import { managedAfterUpdate } from "../apply/managers.ts";
import type { DeleteOptions, Subresource, WriteOptions, WriteRefusal } from "../resources.ts";

export type Decision =
  | { readonly state: "write"; readonly object: KubeObject; readonly warnings?: readonly string[] }
  /** Nothing would change. */
  | { readonly state: "keep"; readonly object: KubeObject; readonly warnings?: readonly string[] }
  | { readonly state: "remove"; readonly object: KubeObject }
  | WriteRefusal;

export type Writer = Pick<WriteOptions, "fieldValidation"> & {
  readonly manager: string;
  readonly subresource: Subresource | undefined;
  readonly nowMs: number;
  /** `given`: the object carries its managed fields already (apply). */
  readonly managed: "tracked" | "given";
};

/** Kubernetes' times have whole seconds. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

export function refused(
  reason: WriteRefusal["reason"],
  message: string,
  causes?: WriteRefusal["causes"],
): WriteRefusal {
  return { state: "refused", reason, message, ...(causes ? { causes } : {}) };
}

export const modifiedMessage =
  "the object has been modified; please apply your changes to the latest version and try again";

export function decideCreate(
  kind: KindDefinition,
  given: KubeObject,
  writer: Writer & { uid: string },
): Decision {
  const { metadata } = given;
  if (metadata.resourceVersion) {
    return invalid("metadata.resourceVersion", "must not be set on an object to be created");
  }
  const { status: _, ...rest } = given as KubeObject & { status?: unknown };
  const candidate = {
    ...(keepsStatus(kind) ? given : rest),
    metadata: {
      ...metadata,
      uid: writer.uid,
      creationTimestamp: timestamp(writer.nowMs),
      generation: hasSpec(kind) ? 1 : undefined,
      deletionTimestamp: undefined,
      deletionGracePeriodSeconds: undefined,
      selfLink: undefined,
      managedFields: writer.managed === "given" ? metadata.managedFields : undefined,
    },
  };
  const checked = check(kind, candidate, undefined, writer);
  if ("reason" in checked) return checked;
  return { state: "write", ...checked };
}

export function decideUpdate(
  kind: KindDefinition,
  live: KubeObject,
  next: KubeObject,
  writer: Writer,
): Decision {
  const problem = identityProblem(live, next);
  if (problem) return problem;
  const checked = check(kind, candidateOf(kind, live, next, writer), live, writer);
  if ("reason" in checked) return checked;
  const { object, warnings } = checked;
  const added = (object.metadata.finalizers ?? []).filter(
    (finalizer) => !live.metadata.finalizers?.includes(finalizer),
  );
  if (live.metadata.deletionTimestamp && added.length > 0) {
    return invalid(
      "metadata.finalizers",
      `"${added.join(", ")}" cannot be added: the object is being deleted`,
    );
  }
  if (hasSpec(kind) && !sameValue(specOf(object), specOf(live)))
    object.metadata.generation = (live.metadata.generation ?? 0) + 1;
  if (writer.managed === "tracked") {
    const time = timestamp(writer.nowMs);
    const { manager, subresource } = writer;
    const managedFields = managedAfterUpdate(kind, live, object, {
      manager,
      subresource: subresource === "status" ? "status" : undefined,
      time,
    });
    if (managedFields) object.metadata.managedFields = managedFields;
    else delete object.metadata.managedFields;
  }
  if (mayGo(object)) return { state: "remove", object };
  return { state: sameValue(object, live) ? "keep" : "write", object, warnings };
}

/** A deletion that was waiting for finalizers, or for the node that runs the pod. */
function mayGo({ metadata }: KubeObject): boolean {
  return (
    metadata.deletionTimestamp !== undefined &&
    (metadata.finalizers ?? []).length === 0 &&
    (metadata.deletionGracePeriodSeconds ?? 0) === 0
  );
}

export const foregroundFinalizer = "foregroundDeletion";
export const orphanFinalizer = "orphan";

export function decideDelete(
  kind: KindDefinition,
  live: KubeObject,
  options: DeleteOptions,
  nowMs: number,
): Decision {
  const { uid, resourceVersion } = options.preconditions ?? {};
  if (kind.undeletable?.includes(live.metadata.name))
    return refused(
      "forbidden",
      `${live.metadata.name} belongs to every cell and cannot be deleted`,
    );
  if (uid !== undefined && uid !== live.metadata.uid) {
    return refused(
      "conflict",
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${live.metadata.uid}`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== live.metadata.resourceVersion)
    return refused("conflict", modifiedMessage);
  const asked = options.gracePeriodSeconds;
  if (asked !== undefined && !(Number.isInteger(asked) && asked >= 0))
    return invalid("gracePeriodSeconds", `${asked} must be a whole number of seconds from 0`);

  const own = kind.graceSeconds?.(live) ?? 0;
  const wanted = own === 0 ? 0 : (asked ?? own);
  const before = live.metadata.deletionTimestamp
    ? (live.metadata.deletionGracePeriodSeconds ?? 0)
    : undefined;
  // A second deletion may shorten the grace, never lengthen it.
  const grace = before === undefined ? wanted : Math.min(before, wanted);
  const first = before === undefined ? (kind.finalizersAtDelete ?? []) : [];
  const finalizers = [
    ...new Set([...withPropagation(live.metadata, options.propagationPolicy), ...first]),
  ];
  if (grace === 0 && finalizers.length === 0) return { state: "remove", object: live };
  if (before === grace && finalizers.length === (live.metadata.finalizers ?? []).length)
    return { state: "keep", object: live };
  const object: KubeObject = {
    ...live,
    metadata: {
      ...live.metadata,
      deletionTimestamp:
        before === grace ? live.metadata.deletionTimestamp : timestamp(nowMs + grace * 1000),
      deletionGracePeriodSeconds: grace,
      ...(finalizers.length > 0 ? { finalizers } : {}),
    },
  };
  return { state: "write", object };
}

function withPropagation(
  metadata: ObjectMeta,
  policy: DeleteOptions["propagationPolicy"],
): string[] {
  const others = (metadata.finalizers ?? []).filter(
    (finalizer) => finalizer !== foregroundFinalizer && finalizer !== orphanFinalizer,
  );
  if (policy === "Foreground") return [...others, foregroundFinalizer];
  if (policy === "Orphan") return [...others, orphanFinalizer];
  return policy === "Background" ? others : [...(metadata.finalizers ?? [])];
}

/** What the writer wants, with the parts that are not its own taken from what is there. */
function candidateOf(
  kind: KindDefinition,
  live: KubeObject,
  next: KubeObject,
  writer: Writer,
): KubeObject {
  const { managedFields } = next.metadata;
  if (writer.subresource === "status") {
    const { status } = next as KubeObject & { status?: unknown };
    return {
      ...live,
      metadata: { ...live.metadata, ...(managedFields ? { managedFields } : {}) },
      status,
    } as KubeObject;
  }
  const { uid, creationTimestamp, generation, deletionTimestamp } = live.metadata;
  const { deletionGracePeriodSeconds, resourceVersion } = live.metadata;
  const metadata: ObjectMeta = {
    ...next.metadata,
    uid,
    creationTimestamp,
    generation,
    deletionTimestamp,
    deletionGracePeriodSeconds,
    resourceVersion,
    selfLink: undefined,
    managedFields: managedFields ?? live.metadata.managedFields,
  };
  if (!kind.subresources.includes("status")) return { ...next, metadata };
  const { status } = live as KubeObject & { status?: unknown };
  return { ...next, metadata, status } as KubeObject;
}

function identityProblem(live: KubeObject, next: KubeObject): WriteRefusal | undefined {
  const { uid, resourceVersion } = next.metadata;
  if (uid !== undefined && uid !== live.metadata.uid) {
    return refused(
      "conflict",
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${live.metadata.uid}`,
    );
  }
  return resourceVersion !== undefined &&
    resourceVersion !== "" &&
    resourceVersion !== live.metadata.resourceVersion
    ? refused("conflict", modifiedMessage)
    : undefined;
}

function check(
  kind: KindDefinition,
  candidate: KubeObject,
  live: KubeObject | undefined,
  writer: Writer,
): { object: KubeObject; warnings?: readonly string[] } | WriteRefusal {
  const checked = checkObject(kind, dropUndefined(candidate), live);
  const unknown = checked.unknown.map((field) => ({ field, message: "unknown field" }));
  const strict = (writer.fieldValidation ?? "strict") === "strict";
  const issues = [...(strict ? unknown : []), ...(checked.ok ? [] : checked.issues)];
  if (issues.length > 0 || !checked.ok) {
    const listed = issues.map(({ field, message }) => `${field}: ${message}`).join("; ");
    return refused("invalid", listed, issues);
  }
  return writer.fieldValidation === "warn" && unknown.length > 0
    ? {
        object: checked.object,
        warnings: checked.unknown.map((field) => `unknown field "${field}"`),
      }
    : { object: checked.object };
}

/** `undefined` stands for "not there" while candidates are put together. */
function dropUndefined(object: KubeObject): KubeObject {
  const given = (fields: object) =>
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  return given({ ...object, metadata: given(object.metadata) }) as KubeObject;
}

function invalid(field: string, message: string): WriteRefusal {
  return refused("invalid", `${field}: ${message}`, [{ field, message }]);
}

function keepsStatus(kind: KindDefinition): boolean {
  return kind.statusAtCreate === "kept" || !kind.subresources.includes("status");
}

function hasSpec(kind: KindDefinition): boolean {
  const structure = structureOf(kind.schema);
  return structure.type === "object" && structure.fields.has("spec");
}

function specOf(object: KubeObject): unknown {
  return (object as KubeObject & { spec?: unknown }).spec;
}
