/** Field selectors (`metadata.name=x,spec.nodeName!=n1`) over the fields that a kind declares. */
import { SkerryError } from "../../lib/errors.ts";
import type { KindDefinition } from "../kind.ts";
import type { KubeObject } from "../records/object.ts";

export type FieldRequirement = {
  readonly field: string;
  readonly operator: "equals" | "differs";
  readonly value: string;
};

/** Throws `invalid-selector` when a part is neither `field=value` nor `field!=value`. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  if (text.trim() === "") return [];
  return splitUnescaped(text).map((part) => {
    const match = /^\s*([^=!,\s]+)\s*(==|=|!=)((?:[^\\=,]|\\[\\=,])*)$/.exec(part);
    if (!match) {
      throw new SkerryError({
        code: "invalid-selector",
        message: `fieldSelector "${text}": "${part}" is not a requirement`,
        hint: "write field=value or field!=value, separated by commas",
      });
    }
    return {
      field: match[1] ?? "",
      operator: match[2] === "!=" ? "differs" : "equals",
      value: (match[3] ?? "").replace(/\\([\\=,])/g, "$1"),
    };
  });
}

export function formatFieldSelector(requirements: readonly FieldRequirement[]): string {
  return requirements
    .map(
      ({ field, operator, value }) =>
        `${field}${operator === "equals" ? "=" : "!="}${value.replace(/[\\=,]/g, "\\$&")}`,
    )
    .join(",");
}

/** Values of all fields that may be selected by. */
export function selectableFields<T extends KubeObject>(
  kind: KindDefinition<T>,
  object: T,
): Record<string, string> {
  return {
    "metadata.name": object.metadata.name,
    ...(kind.namespaced ? { "metadata.namespace": object.metadata.namespace ?? "" } : {}),
    ...kind.fieldValues(object),
  };
}

/** Throws `invalid-selector` when the kind has no such field. */
export function matchesFields<T extends KubeObject>(
  kind: KindDefinition<T>,
  requirements: readonly FieldRequirement[],
  object: T,
): boolean {
  if (requirements.length === 0) return true;
  const values = selectableFields(kind, object);
  return requirements.every(({ field, operator, value }) => {
    const actual = Object.hasOwn(values, field) ? values[field] : undefined;
    if (actual === undefined) {
      throw new SkerryError({
        code: "invalid-selector",
        message: `fieldSelector: ${kind.plural} cannot be selected by "${field}"`,
        hint: `use one of ${Object.keys(values).join(", ")}`,
      });
    }
    return (actual === value) === (operator === "equals");
  });
}

function splitUnescaped(text: string): string[] {
  const parts: string[] = [];
  let current = "";
  for (let index = 0; index < text.length; index++) {
    const character = text[index] ?? "";
    if (character === "\\") {
      current += character + (text[++index] ?? "");
    } else if (character === ",") {
      parts.push(current);
      current = "";
    } else {
      current += character;
    }
  }
  return [...parts, current];
}
