/**
 * Who wrote which field (`metadata.managedFields`). Tracking begins with the first server-side apply
 * to an object: until then nobody could lose a field to somebody else, and objects that nobody
 * applies (pods, leases, events) stay small. What stood there before belongs to `before-first-apply`.
 */
import {
  apiVersionOf,
  structureOf,
  type KindDefinition,
  type KubeObject,
  type ManagedFieldsEntry,
} from "../../api/index.ts";
import {
  decodeFieldSet,
  difference,
  encodeFieldSet,
  fieldAt,
  fieldSet,
  isEmpty,
  noFields,
  recursiveDifference,
  sameFields,
  union,
  type FieldSet,
} from "./field-set.ts";
import { compare, fieldsOf } from "./typed.ts";

export type ManagerKey = {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly subresource: string | undefined;
};

export type Manager = ManagerKey & { readonly fields: FieldSet; readonly time: string };

export const firstManager = "before-first-apply";

/** Fields that the API writes itself. */
const systemFields = [
  ["apiVersion"],
  ["kind"],
  ...[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
  ].map((name) => ["metadata", name]),
]
  .map(fieldAt)
  .reduce(union);

/** What of a set a writer to this (sub)resource can own. */
export function ownable(
  kind: KindDefinition,
  set: FieldSet,
  subresource: string | undefined,
): FieldSet {
  if (subresource === "status")
    return fieldSet(false, [["f:status", set.children.get("f:status") ?? noFields]]);
  const system = kind.subresources.includes("status")
    ? union(systemFields, fieldAt(["status"]))
    : systemFields;
  return recursiveDifference(set, system);
}

export function sameManager(a: ManagerKey, b: ManagerKey): boolean {
  return a.manager === b.manager && a.operation === b.operation && a.subresource === b.subresource;
}

export function managersOf(object: KubeObject): Manager[] {
  return ((object.metadata.managedFields ?? []) as ManagedFieldsEntry[])
    .filter((entry) => entry.manager !== undefined || entry.operation !== undefined)
    .map((entry) => ({
      manager: entry.manager ?? "",
      operation: entry.operation ?? "Update",
      subresource: entry.subresource || undefined,
      time: entry.time ?? "",
      fields: decodeFieldSet(entry.fieldsV1 ?? {}),
    }));
}

export function encodeManagers(
  kind: KindDefinition,
  managers: readonly Manager[],
): ManagedFieldsEntry[] {
  return managers
    .filter(({ fields }) => !isEmpty(fields))
    .map(({ manager, operation, subresource, time, fields }) => ({
      manager,
      operation,
      apiVersion: apiVersionOf(kind),
      ...(time === "" ? {} : { time }),
      fieldsType: "FieldsV1",
      fieldsV1: encodeFieldSet(fields),
      ...(subresource === undefined ? {} : { subresource }),
    }));
}

/** Gives `key` exactly `fields`; the time moves only when they changed. */
export function withManager(
  managers: readonly Manager[],
  key: ManagerKey,
  fields: FieldSet,
  time: string,
): Manager[] {
  const index = managers.findIndex((manager) => sameManager(manager, key));
  const current = managers[index];
  if (!current) return [...managers, { ...key, fields, time }];
  if (sameFields(current.fields, fields)) return [...managers];
  return managers.with(index, { ...current, fields, time });
}

/**
 * The managed fields after somebody wrote `after` over `before` by anything but apply: what changed
 * is the writer's, what went is nobody's. Undefined while nothing was ever applied.
 */
export function managedAfterUpdate(
  kind: KindDefinition,
  before: KubeObject,
  after: KubeObject,
  writer: { manager: string; subresource: string | undefined; time: string },
): ManagedFieldsEntry[] | undefined {
  // A writer may set the managed fields themselves; leaving them out leaves them alone.
  const tracked = after.metadata.managedFields === undefined ? before : after;
  const managers = managersOf(tracked);
  if (managers.length === 0) return undefined;
  const structure = structureOf(kind.schema);
  const changes = compare(structure, before, after);
  const changed = ownable(kind, changes.changed, writer.subresource);
  const removed = ownable(kind, changes.removed, writer.subresource);
  const key = { ...keyOf(writer), operation: "Update" } as const;
  const own = managers.find((manager) => sameManager(manager, key))?.fields ?? noFields;
  const others = managers.map((manager) =>
    sameManager(manager, key)
      ? manager
      : { ...manager, fields: difference(manager.fields, union(changed, removed)) },
  );
  const mine = union(difference(own, removed), changed);
  return encodeManagers(kind, withManager(others, key, mine, writer.time));
}

export function keyOf(writer: { manager: string; subresource: string | undefined }) {
  return { manager: writer.manager, subresource: writer.subresource };
}

/** The managers of an object at its first apply. */
export function managersAtFirstApply(
  kind: KindDefinition,
  live: KubeObject,
  time: string,
): Manager[] {
  const all = fieldsOf(structureOf(kind.schema), live);
  const entry = (subresource: string | undefined): Manager => ({
    manager: firstManager,
    operation: "Update",
    subresource,
    time,
    fields: ownable(kind, all, subresource),
  });
  return kind.subresources.includes("status")
    ? [entry(undefined), entry("status")]
    : [entry(undefined)];
}
