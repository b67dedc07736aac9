import { SkerryError, type ErrorDetails } from "../lib/errors.ts";

/** Of what others answer, in a message. */
const charactersShown = 200;

/**
 * What an answer that is no success says, whoever sent it: in Skerry's own words; or `refused`, with the
 * status and what words there are, from a proxy on the way, or another program on this port.
 */
export function refusalOf(status: number, text: string): SkerryError {
  const body = fieldsOf(parsed(text));
  const error = fieldsOf(body?.["error"]);
  const [code, message, hint] = ["code", "message", "hint"].map((name) => textOf(error?.[name]));
  const retryable = error?.["retryable"];
  const isRetryable = typeof retryable === "boolean" ? retryable : isPassing(status);
  if (code !== undefined && message !== undefined) {
    const details: ErrorDetails | undefined = fieldsOf(error?.["details"]);
    return new SkerryError({
      code,
      message,
      retryable: isRetryable,
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
    });
  }
  const words = message ?? textOf(body?.["error"]) ?? textOf(body?.["message"]) ?? text;
  return new SkerryError({
    code: "refused",
    message: `status ${status}: ${words.trim().slice(0, charactersShown)}`,
    retryable: isRetryable,
  });
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
