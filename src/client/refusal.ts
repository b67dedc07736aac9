import { SkerryError, type ErrorDetails } from "../lib/errors.ts";

/** Of what others answer, in a message. */
const charactersShown = 200;
/** Who is told to come back tomorrow looks in before. */
const retryAfterMsMax = 300_000;

/**
 * What an answer that is no success says, whoever sent it: in Skerry's own words; or `refused`, with the
 * status and what words there are, from a proxy on the way, or another program on this port. `details`
 * have `retryAfterMs` where it is asked for.
 */
export function refusalOf(status: number, text: string, headers?: Headers): SkerryError {
  const body = fieldsOf(parsed(text));
  const error = fieldsOf(body?.["error"]);
  const [code, message, hint] = ["code", "message", "hint"].map((name) => textOf(error?.[name]));
  const retryable = error?.["retryable"];
  const details = detailsOf(error?.["details"], headers);
  const isRetryable = typeof retryable === "boolean" ? retryable : isPassing(status);
  if (code !== undefined && message !== undefined) {
    return new SkerryError({
      code,
      message,
      retryable: isRetryable,
      ...(hint === undefined ? {} : { hint }),
      ...details,
    });
  }
  const words = message ?? textOf(body?.["error"]) ?? textOf(body?.["message"]) ?? text;
  return new SkerryError({
    code: "refused",
    message: `status ${status}: ${words.trim().slice(0, charactersShown)}`,
    retryable: isRetryable,
    ...details,
  });
}

/** With `retryAfterMs`, if the other side asks for a pause; of the two ways to say it (RFC 9110, 10.2.3) seconds. */
function detailsOf(details: unknown, headers: Headers | undefined): { details?: ErrorDetails } {
  const seconds = /^\d{1,9}$/.exec(headers?.get("retry-after") ?? "")?.[0];
  const asked =
    seconds === undefined
      ? {}
      : { retryAfterMs: Math.min(Number(seconds) * 1000, retryAfterMsMax) };
  const all = { ...fieldsOf(details), ...asked };
  return Object.keys(all).length > 0 ? { details: all } : {};
}

/** The same may be answered otherwise later: 408 and 429 say so, and of 5xx all that a proxy says. */
const isPassing = (status: number): boolean => status >= 500 || status === 429 || status === 408;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === "object" && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;
