/** What an administrator asks of the cell's servers over HTTP. */
import type { Change } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";

const verbs = ["add", "remove", "replace", "move-leader"] as const;
const namePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Throws `invalid-argument` naming the field. */
export function parseChange(body: unknown): Change {
  const given = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const verb = verbs.find((one) => one === given["verb"]);
  if (!verb) throw invalid("verb", given["verb"], `one of ${verbs.join(", ")}`);
  const node = nameOf("node", given["node"]);
  return verb === "replace"
    ? { verb, node, by: nameOf("by", given["by"] ?? node) }
    : { verb, node };
}

function nameOf(field: string, value: unknown): string {
  if (typeof value === "string" && namePattern.test(value)) return value;
  throw invalid(field, value, "the name of a node");
}

const invalid = (field: string, value: unknown, allowed: string) =>
  new SkerryError({
    code: "invalid-argument",
    message: `${field}: ${JSON.stringify(value)} is not allowed`,
    hint: `expected ${allowed}`,
  });
