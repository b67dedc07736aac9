/** Query parameters and headers of the document routes; every complaint names the one it is about. */
import { parseDurabilityLevel, type DurabilityLevel } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpRequest } from "../../runtime/http/index.ts";
import { documentsPerPageMax } from "../documents/reading.ts";
import type { GlobalListQuery } from "../global/documents.ts";
import type { StrongKey } from "../strong/once.ts";

const timeoutMsDefault = 10_000;
const timeoutMsMax = 60_000;

export type WriteQuery = { level: DurabilityLevel; timeoutMs: number; key?: string };
export type DocumentsQuery =
  | {
      readonly read: "list";
      readonly page: { after?: string; limit?: number; conflicted: boolean };
    }
  | {
      readonly read: "changes";
      readonly follow: boolean;
      readonly page: { since?: string; limit?: number };
    };

/** Throws `invalid-query`. */
export function parseWriteQuery({
  query,
  headers,
}: Pick<HttpRequest, "query" | "headers">): WriteQuery {
  const text = textsOf(query, ["durability", "timeoutMs"]);
  const durability = text("durability") ?? "local";
  const level = parseDurabilityLevel(durability);
  if (!level)
    throw invalid("durability", `"${durability}" is no level`, "use local, or peer(1) and more");
  const timeout = text("timeoutMs");
  const timeoutMs = timeout === undefined ? timeoutMsDefault : numberOf(timeout);
  if (timeoutMs === undefined || timeoutMs < 1 || timeoutMs > timeoutMsMax)
    throw invalid("timeoutMs", `"${timeout}" is out of range`, `1 to ${timeoutMsMax}`);
  const key = headers["idempotency-key"];
  return { level, timeoutMs, ...(key === undefined ? {} : { key: [key].flat().join(",") }) };
}

/** Throws `invalid-query`. */
export function parseListQuery({
  query,
  headers,
}: Pick<HttpRequest, "query" | "headers">): DocumentsQuery {
  const text = textsOf(query, ["after", "limit", "conflicted", "since", "follow"]);
  const [follow, conflicted] = [flagOf(text, "follow"), flagOf(text, "conflicted")];
  const page = limitOf(text);
  const after = text("after");
  // What a browser's EventSource sends when it comes back.
  const since = [headers["last-event-id"] ?? text("since")].flat()[0];
  if (!follow && since === undefined)
    return { read: "list", page: { ...page, conflicted, ...(after ? { after } : {}) } };
  if (after !== undefined || conflicted)
    throw invalid(conflicted ? "conflicted" : "after", "does not go with changes", "leave it out");
  return { read: "changes", follow, page: { ...page, ...(since ? { since } : {}) } };
}

const keyBytesMax = 256;

/**
 * Under which a write to a strong collection takes effect once: an `idempotency-key`, or the `write-id`
 * that clients send with every write, which says when it is sent again. Throws `invalid-query`.
 */
export function parseStrongKey(
  { headers }: Pick<HttpRequest, "headers">,
  key: string | undefined,
): StrongKey | undefined {
  if (key !== undefined) {
    if (key !== "" && Buffer.byteLength(key) <= keyBytesMax)
      return { key: `key ${key}`, isFirst: false };
    throw invalid(
      "idempotency-key",
      `has ${Buffer.byteLength(key)} bytes`,
      `1 to ${keyBytesMax} bytes`,
    );
  }
  const given = [headers["write-id"]].flat()[0];
  if (given === undefined) return undefined;
  const [, id, again] = /^([\w-]{16,64})(; ?repeat)?$/.exec(given) ?? [];
  if (id !== undefined) return { key: `id ${id}`, isFirst: again === undefined };
  throw invalid(
    "write-id",
    `"${given.slice(0, 80)}" is none`,
    "16 to 64 letters, digits, - and _; with `; repeat` behind it when the write is sent again",
  );
}

/** At the hub. Throws `invalid-query`. */
export function parseGlobalListQuery(query: unknown): Omit<GlobalListQuery, "collection"> {
  const text = textsOf(query, ["cell", "id", "after", "limit", "conflicted"]);
  const given = (["cell", "id", "after"] as const).flatMap((name) => {
    const value = text(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(given), ...limitOf(text), conflicted: flagOf(text, "conflicted") };
}

/** Throws `invalid-query`. */
export const parseCell = (query: unknown): string | undefined => textsOf(query, ["cell"])("cell");

type Texts = (name: string) => string | undefined;

function limitOf(text: Texts): { limit?: number } {
  const given = text("limit");
  if (given === undefined) return {};
  const limit = numberOf(given);
  if (limit === undefined || limit < 1 || limit > documentsPerPageMax)
    throw invalid("limit", `"${given}" is out of range`, `1 to ${documentsPerPageMax}`);
  return { limit };
}

function flagOf(text: Texts, name: string): boolean {
  const value = text(name);
  if (value === undefined || value === "0") return false;
  if (value === "1") return true;
  throw invalid(name, `"${value}" is not allowed`, "use 0 or 1");
}

/** Each once, and none but these. Throws `invalid-query`. */
export function textsOf(query: unknown, known: readonly string[]): Texts {
  const given = query as Readonly<Record<string, string | string[] | undefined>>;
  for (const [name, value] of Object.entries(given)) {
    if (!known.includes(name))
      throw invalid(name, "is not known here", `known are ${known.join(", ")}`);
    if (Array.isArray(value)) throw invalid(name, "is given twice", "give it once");
  }
  return (name) => given[name] as string | undefined;
}

const numberOf = (text: string): number | undefined =>
  /^\d{1,9}$/.test(text) ? Number(text) : undefined;

const invalid = (name: string, problem: string, hint: string) =>
  new SkerryError({ code: "invalid-query", message: `${name}: ${problem}`, hint });
