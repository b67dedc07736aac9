/**
 * Server-side apply (Kubernetes KEP-555, structured-merge-diff): a manager sends the fields it has an
 * opinion about. It gets them unless another manager owns one of them with another value; what it
 * sent last time and sends no more goes, unless somebody else wants it too.
 */
import {
  apiVersionOf,
  structureOf,
  type KindDefinition,
  type KubeObject,
} from "../../api/index.ts";
import { PatchProblem } from "../patch/values.ts";
import {
  difference,
  intersection,
  isEmpty,
  noFields,
  paths,
  pathText,
  union,
  withParents,
  type FieldSet,
} from "./field-set.ts";
import {
  encodeManagers,
  managersAtFirstApply,
  managersOf,
  ownable,
  sameManager,
  withManager,
  type Manager,
} from "./managers.ts";
import { compare, fieldsOf, merge, without } from "./typed.ts";

export type ApplyOutcome =
  | { readonly state: "applied"; readonly object: KubeObject }
  | {
      readonly state: "conflict";
      readonly message: string;
      readonly causes: readonly { field: string; message: string }[];
    }
  | { readonly state: "invalid"; readonly field: string; readonly message: string };

export type ApplyWriter = {
  readonly manager: string;
  readonly force: boolean;
  readonly subresource: string | undefined;
  /** RFC 3339. */
  readonly time: string;
};

/** `config` has been pruned already. `live` is undefined when the object does not exist yet. */
export function applyConfiguration(
  kind: KindDefinition,
  live: KubeObject | undefined,
  config: KubeObject,
  writer: ApplyWriter,
): ApplyOutcome {
  try {
    return apply(kind, live, config, writer);
  } catch (error) {
    if (error instanceof PatchProblem)
      return { state: "invalid", field: error.field, message: error.message };
    throw error;
  }
}

function apply(
  kind: KindDefinition,
  live: KubeObject | undefined,
  config: KubeObject,
  writer: ApplyWriter,
): ApplyOutcome {
  if (config.metadata.managedFields?.length) {
    throw new PatchProblem("metadata.managedFields", "must not be given to an apply");
  }
  const structure = structureOf(kind.schema);
  const key = {
    manager: writer.manager,
    operation: "Apply",
    subresource: writer.subresource,
  } as const;
  const known = live ? managersOf(live) : [];
  const managers =
    live && known.length === 0 ? managersAtFirstApply(kind, live, writer.time) : known;
  const others = managers.filter((manager) => !sameManager(manager, key));
  const last = managers.find((manager) => sameManager(manager, key))?.fields ?? noFields;
  const wanted = ownable(kind, fieldsOf(structure, config), writer.subresource);

  const merged = live === undefined ? config : merge(structure, live, config);
  const changed = ownable(kind, compare(structure, live, merged).changed, writer.subresource);
  const conflicts = others
    .map((manager) => ({ manager, fields: intersection(manager.fields, changed) }))
    .filter(({ fields }) => !isEmpty(fields));
  if (conflicts.length > 0 && !writer.force) return conflictOf(kind, conflicts);

  const stillWanted = others.reduce<FieldSet>((all, manager) => union(all, manager.fields), wanted);
  const dropped = difference(last, withParents(stillWanted));
  const object = without(structure, merged, dropped, stillWanted) as KubeObject;
  const remaining = others.map((manager) => ({
    ...manager,
    fields: difference(difference(manager.fields, changed), dropped),
  }));
  const self = managers.find((manager) => sameManager(manager, key));
  const managedFields = encodeManagers(
    kind,
    withManager(self ? [...remaining, self] : remaining, key, wanted, writer.time),
  );
  return {
    state: "applied",
    object: { ...object, metadata: { ...object.metadata, managedFields } },
  };
}

function conflictOf(
  kind: KindDefinition,
  conflicts: readonly { manager: Manager; fields: FieldSet }[],
): ApplyOutcome {
  const causes = conflicts.flatMap(({ manager, fields }) =>
    paths(fields).map((path) => ({
      field: pathText(path),
      message: `conflict with "${manager.manager}"${manager.subresource ? ` with subresource "${manager.subresource}"` : ""} using ${apiVersionOf(kind)}`,
    })),
  );
  const listed = causes.map(({ field, message }) => `${message}: ${field}`).join("; ");
  return {
    state: "conflict",
    message: `Apply failed with ${causes.length} conflict${causes.length === 1 ? "" : "s"}: ${listed}`,
    causes,
  };
}
