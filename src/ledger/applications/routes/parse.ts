/** From HTTP to requests: query parameters, conditional headers (RFC 9110) and JSON bodies. */
import { SkerryError } from "../../../lib/errors.ts";
import type { ClaimKind } from "../coordination.ts";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Every parameter once, and no other than `names`. Throws `invalid-query`. */
export function parseQuery<Name extends string>(
  raw: unknown,
  names: readonly Name[],
): Partial<Record<Name, string>> {
  const query = raw as Readonly<Record<string, unknown>>;
  for (const [name, value] of Object.entries(query)) {
    if (!(names as readonly string[]).includes(name))
      throw invalidQuery(`${name} is not known here`, `known are ${names.join(", ") || "none"}`);
    if (typeof value !== "string")
      throw invalidQuery(`${name} is given more than once`, "give it once");
  }
  return query as Partial<Record<Name, string>>;
}

/** A whole number of 0 or more, as revisions, tokens and limits are. */
export function wholeNumber(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw invalidQuery(`${name}: "${value.slice(0, 80)}" is not a whole number`, "digits only");
}

export function flag(name: string, value: string | undefined): boolean {
  if (value === undefined || value === "0") return false;
  if (value === "1") return true;
  throw invalidQuery(`${name}: "${value.slice(0, 80)}" is not 0 or 1`, "1 for yes");
}

/** The key's last change that a write is for; 0: it does not exist. Throws `invalid-request`. */
export function preconditionOf(headers: Headers): { ifRevision?: number } {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match === undefined && noneMatch === undefined) return {};
  if (match !== undefined && noneMatch !== undefined)
    throw invalid("if-match and if-none-match: give one of them");
  if (noneMatch !== undefined) {
    if (noneMatch === "*") return { ifRevision: 0 };
    throw invalid("if-none-match: only * is taken: the key does not exist");
  }
  const revision = typeof match === "string" ? /^"?(\d{1,15})"?$/.exec(match)?.[1] : undefined;
  if (revision !== undefined && Number(revision) > 0) return { ifRevision: Number(revision) };
  throw invalid(`if-match: give one etag as it was told, like "812"`);
}

/** `lock` or `election` with `token`: all that fences a write. Throws `invalid-query`. */
export function fenceOf(query: { lock?: string; election?: string; token?: string }): {
  fence?: { kind: ClaimKind; name: string; token: number };
} {
  const { lock, election } = query;
  const token = wholeNumber("token", query.token);
  const name = lock ?? election;
  if (name === undefined && token === undefined) return {};
  if (name === undefined || token === undefined || (lock !== undefined && election !== undefined))
    throw invalidQuery("a fence is lock or election, and token", "give one name, and its token");
  return { fence: { kind: lock === undefined ? "election" : "lock", name, token } };
}

/** `EPOCH:REVISION`, the id of the last event that was seen. Throws `invalid-request`. */
export function lastEventOf(headers: Headers): { after: number; epoch: string } | undefined {
  const id = headers["last-event-id"];
  if (id === undefined || id === "") return undefined;
  const [, epoch, revision] = (typeof id === "string" && /^(.{1,128}):(\d{1,15})$/.exec(id)) || [];
  if (epoch === undefined || revision === undefined)
    throw invalid("last-event-id: not one that a watch told");
  return { epoch, after: Number(revision) };
}

/** The fields of a JSON body; none for an empty one. Throws `invalid-request`. */
export function jsonFields(body: unknown): Readonly<Record<string, unknown>> {
  const text = body instanceof Uint8Array ? new TextDecoder().decode(body) : "";
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw invalid("the body is not a JSON object");
}

const invalid = (message: string) =>
  new SkerryError({
    code: "invalid-request",
    message,
    hint: "docs/coordination.md lists what each field may be",
  });

const invalidQuery = (message: string, hint: string) =>
  new SkerryError({ code: "invalid-query", message, hint });
