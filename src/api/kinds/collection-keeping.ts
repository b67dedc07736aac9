/** How long a Collection keeps its documents, and which go first. */
import { parseDurationMs } from "../../lib/duration.ts";
import type { FieldIssue } from "../kind.ts";

type Keeping = {
  readonly scope?: string | undefined;
  readonly consistency?: string | undefined;
  readonly retention?: { readonly maxAge: string } | undefined;
  readonly priority?: number | undefined;
};

export function keepingIssues({ scope, consistency, retention, priority }: Keeping): FieldIssue[] {
  const issues: FieldIssue[] = [];
  const add = (field: string, message: string) => issues.push({ field, message });
  if (retention) {
    if (consistency === "strong")
      add(
        "spec.retention",
        "must not be there with consistency: strong: what is in the ledger stays until it is deleted",
      );
    if (scope === "hubToCells")
      add("spec.retention", "must not be there: the hub writes these documents, and deletes them");
    const problem = durationProblem(retention.maxAge);
    if (problem !== undefined) add("spec.retention.maxAge", problem);
  }
  if (priority !== undefined && scope !== "cellsToHub" && scope !== "both")
    add("spec.priority", "orders what goes to the hub: spec.scope must be cellsToHub or both");
  return issues;
}

function durationProblem(text: string): string | undefined {
  try {
    return parseDurationMs(text, "") > 0 ? undefined : "must be more than 0";
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error.message.replace(/^: /, "");
  }
}
