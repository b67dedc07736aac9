/** Fills in what most kinds have in common, so that a kind's file says only what is its own. */
import type { FieldIssue, KindDefinition } from "../kind.ts";
import type { KubeObject } from "../records/object.ts";
import { ageColumn, metadataIssues, nameColumn } from "./metadata.ts";

type KindParts<T extends KubeObject> = Pick<
  KindDefinition<T>,
  "version" | "kind" | "plural" | "schema"
> &
  Partial<Omit<KindDefinition<T>, "version" | "kind" | "plural" | "schema">> & {
    /** What names are allowed; RFC 1123 subdomains by default. */
    readonly nameProblem?: (name: string) => string | undefined;
    /** Between the name and the age. */
    readonly ownColumns?: KindDefinition<T>["columns"];
  };

export function defineKind<T extends KubeObject>(parts: KindParts<T>): KindDefinition<T> {
  const { nameProblem, ownColumns, validate, ...rest } = parts;
  const namespaced = parts.namespaced ?? true;
  const narrow = (ownColumns ?? []).filter((column) => !column.wide);
  const wide = (ownColumns ?? []).filter((column) => column.wide);
  return {
    group: "",
    singular: parts.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    subresources: [],
    columns: [nameColumn, ...narrow, ageColumn, ...wide],
    fieldValues: () => ({}),
    applyDefaults: () => {},
    ...rest,
    namespaced,
    validate(object, previous): FieldIssue[] {
      return [
        ...metadataIssues(object, { namespaced, nameProblem }),
        ...(validate?.(object, previous) ?? []),
      ];
    },
  };
}
