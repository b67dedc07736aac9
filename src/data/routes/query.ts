/** Query parameters of the read routes; every complaint names the parameter and what is allowed. */
import { SkerryError } from "../../lib/errors.ts";
import { pageLimitMax } from "../streams/cursor.ts";

export type EntriesQuery = {
  readonly after?: string;
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly limit?: number;
  /** Begin with this many of the newest. */
  readonly newest?: number;
  readonly cell?: string;
  readonly follow: boolean;
  readonly format: "ndjson" | "json";
};

const known = ["after", "newest", "from", "to", "limit", "follow", "format", "cell"];

/** Throws `invalid-query`. */
export function parseEntriesQuery(raw: unknown, options: { cell: boolean }): EntriesQuery {
  const query = raw as Record<string, string | string[] | undefined>;
  const names = options.cell ? known : known.filter((name) => name !== "cell");
  for (const name of Object.keys(query)) {
    if (!names.includes(name))
      throw invalid(name, "is not known here", `known are ${names.join(", ")}`);
    if (Array.isArray(query[name])) throw invalid(name, "is given twice", "give it once");
  }
  const text = (name: string) => query[name] as string | undefined;
  const follow = choice("follow", text("follow"), ["0", "1"]) === "1";
  const format = choice("format", text("format"), ["ndjson", "json"]) ?? "ndjson";
  if (follow && format === "json")
    throw invalid("format", "json cannot follow", "leave out follow, or use format=ndjson");
  const newest = count("newest", text("newest"), pageLimitMax);
  if (newest !== undefined && text("after") !== undefined)
    throw invalid("newest", "does not go with after", "give one of them");
  return {
    after: text("after"),
    newest,
    fromMs: time("from", text("from")),
    toMs: time("to", text("to")),
    limit: count(
      "limit",
      text("limit"),
      format === "json" ? pageLimitMax : Number.MAX_SAFE_INTEGER,
    ),
    cell: text("cell"),
    follow,
    format,
  };
}

function choice<T extends string>(
  name: string,
  value: string | undefined,
  allowed: readonly T[],
): T | undefined {
  if (value === undefined || allowed.includes(value as T)) return value as T | undefined;
  throw invalid(name, `"${value}" is not allowed`, `use ${allowed.join(" or ")}`);
}

/** RFC 3339, or milliseconds since 1970. */
function time(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d{1,15}$/.test(value) ? Number(value) : Date.parse(value);
  if (!Number.isNaN(ms)) return ms;
  throw invalid(name, `"${value}" is not a time`, "use 2026-01-31T12:00:00Z, or milliseconds");
}

function count(name: string, value: string | undefined, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = /^\d{1,15}$/.test(value) ? Number(value) : 0;
  if (number >= 1 && number <= max) return number;
  throw invalid(name, `"${value}" is out of range`, `a whole number from 1 to ${max}`);
}

function invalid(name: string, problem: string, hint: string): SkerryError {
  return new SkerryError({ code: "invalid-query", message: `${name}: ${problem}`, hint });
}
