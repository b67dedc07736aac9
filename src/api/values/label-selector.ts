/** Label selectors, as text (`app=web,tier in (a,b),!old`) and as the object in specifications. */
import { SkerryError } from "../../lib/errors.ts";
import { labelKeyProblem, labelValueProblem } from "./names.ts";

export type LabelRequirement =
  | { readonly operator: "in" | "not-in"; readonly key: string; readonly values: readonly string[] }
  | { readonly operator: "exists" | "absent"; readonly key: string };

type SelectorObject = {
  matchLabels?: Record<string, string>;
  matchExpressions?: {
    key: string;
    operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    values?: string[];
  }[];
};

type Labels = Readonly<Record<string, string>>;

/** Throws `invalid-selector` naming the part. The empty text selects everything. */
export function parseLabelSelector(text: string): LabelRequirement[] {
  const requirements: LabelRequirement[] = [];
  for (const part of splitOutsideParentheses(text)) requirements.push(parseRequirement(part, text));
  return requirements;
}

export function matchesRequirements(
  requirements: readonly LabelRequirement[],
  labels: Labels = {},
): boolean {
  return requirements.every((requirement) => {
    const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
    switch (requirement.operator) {
      case "exists":
        return value !== undefined;
      case "absent":
        return value === undefined;
      case "in":
        return value !== undefined && requirement.values.includes(value);
      case "not-in":
        // Kubernetes: an object without the key is not in the set either.
        return value === undefined || !requirement.values.includes(value);
      default:
        return requirement satisfies never;
    }
  });
}

/** Whether a `LabelSelector` of a specification selects these labels; an empty one selects all. */
export function matchesLabels(selector: SelectorObject, labels: Labels = {}): boolean {
  return matchesRequirements(requirementsOf(selector), labels);
}

const operators = { In: "in", NotIn: "not-in", Exists: "exists", DoesNotExist: "absent" } as const;

export function requirementsOf(selector: SelectorObject): LabelRequirement[] {
  const equals = Object.entries(selector.matchLabels ?? {}).map(
    ([key, value]): LabelRequirement => ({ operator: "in", key, values: [value] }),
  );
  const expressions = (selector.matchExpressions ?? []).map(
    ({ key, operator, values = [] }): LabelRequirement =>
      operator === "In" || operator === "NotIn"
        ? { operator: operators[operator], key, values }
        : { operator: operators[operator], key },
  );
  return [...equals, ...expressions];
}

/** As `parseLabelSelector` reads it; what kubectl shows for a selector. */
export function formatLabelSelector(selector: SelectorObject): string {
  return formatRequirements(requirementsOf(selector)) || "<none>";
}

export function formatRequirements(requirements: readonly LabelRequirement[]): string {
  return requirements
    .map((requirement) => {
      switch (requirement.operator) {
        case "exists":
          return requirement.key;
        case "absent":
          return `!${requirement.key}`;
        case "in":
          return requirement.values.length === 1
            ? `${requirement.key}=${requirement.values[0]}`
            : `${requirement.key} in (${requirement.values.join(",")})`;
        case "not-in":
          return requirement.values.length === 1
            ? `${requirement.key}!=${requirement.values[0]}`
            : `${requirement.key} notin (${requirement.values.join(",")})`;
        default:
          return requirement satisfies never;
      }
    })
    .join(",");
}

function splitOutsideParentheses(text: string): string[] {
  if (text.trim() === "") return [];
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    if (text[index] === "(") depth++;
    if (text[index] === ")") depth--;
    if (text[index] === "," && depth === 0) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((part) => part.trim());
}

function parseRequirement(part: string, whole: string): LabelRequirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  if (set) {
    const values = (set[3] ?? "").split(",").map((value) => value.trim());
    return checked(
      { operator: set[2] === "in" ? "in" : "not-in", key: set[1] ?? "", values },
      whole,
    );
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/.exec(part);
  if (equality) {
    const operator = equality[2] === "!=" ? "not-in" : "in";
    return checked({ operator, key: equality[1] ?? "", values: [equality[3] ?? ""] }, whole);
  }
  const existence = /^(!?)\s*(\S+)$/.exec(part);
  if (existence) {
    const operator = existence[1] === "!" ? "absent" : "exists";
    return checked({ operator, key: existence[2] ?? "" }, whole);
  }
  throw invalid(whole, `"${part}" is not a requirement`);
}

function checked(requirement: LabelRequirement, whole: string): LabelRequirement {
  const problem =
    labelKeyProblem(requirement.key) ??
    ("values" in requirement
      ? requirement.values.map(labelValueProblem).find((text) => text !== undefined)
      : undefined);
  if (problem) throw invalid(whole, problem);
  return requirement;
}

function invalid(whole: string, problem: string): SkerryError {
  return new SkerryError({
    code: "invalid-selector",
    message: `labelSelector "${whole}": ${problem}`,
    hint: "write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, separated by commas",
  });
}
