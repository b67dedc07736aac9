/**
 * The one error class of Skerry and the codec that carries it over threads, processes and HTTP
 * (structured clone and JSON drop class, `code` and `hint`). Every code stands in docs/errors.md.
 */

export type ErrorDetails = Readonly<Record<string, unknown>>;

export type SkerryErrorInit = {
  /** Stable, kebab-case; documented in docs/errors.md. */
  readonly code: string;
  /** What happened, naming the field and the value where input was bad. */
  readonly message: string;
  /** What the reader can do about it. */
  readonly hint?: string;
  /** Whether the same call may succeed later without anybody changing it. Default false. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
};

export class SkerryError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly details: ErrorDetails | undefined;

  constructor(init: SkerryErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = "SkerryError";
    this.code = init.code;
    this.hint = init.hint;
    this.retryable = init.retryable ?? false;
    this.details = init.details;
  }
}

/** The wire form: plain data, safe for structured clone and JSON. */
export type EncodedError = {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly retryable: boolean;
  readonly details?: ErrorDetails;
  readonly cause?: EncodedError;
};

/** Causes deeper than this are dropped from the wire form. */
const causesMax = 4;

export function encodeError(error: unknown, depth = 0): EncodedError {
  const cause = error instanceof Error ? error.cause : undefined;
  const base = {
    message: error instanceof Error ? error.message : String(error),
    ...(cause === undefined || depth >= causesMax ? {} : { cause: encodeError(cause, depth + 1) }),
  };
  if (error instanceof SkerryError) {
    return {
      code: error.code,
      retryable: error.retryable,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.details === undefined ? {} : { details: error.details }),
      ...base,
    };
  }
  const code = isAbort(error) ? "ABORT_ERR" : systemCode(error);
  return { code: code ?? "internal", retryable: false, ...base };
}

export function decodeError(encoded: EncodedError): SkerryError {
  return new SkerryError({
    ...encoded,
    cause: encoded.cause === undefined ? undefined : decodeError(encoded.cause),
  });
}

/** EDQUOT of Linux, which Node has no name for: its code is `UNKNOWN` (libuv `uv.h`, UV_ERRNO_MAP). */
const quotaErrno = -122;

/** `ENOSPC`, `ECONNREFUSED`, … of a Node system error; undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  if ("errno" in error && error.errno === quotaErrno) return "EDQUOT";
  return typeof error.code === "string" ? error.code : undefined;
}

/** True for what an aborted signal throws, whoever threw it. */
export function isAbort(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === "AbortError" || systemCode(error) === "ABORT_ERR")
  );
}

/** One line a person can act on: message, hint, and the causes behind them. */
export function explain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && depth <= causesMax; depth++) {
    parts.push(current instanceof Error ? current.message : String(current));
    current = current instanceof Error ? current.cause : undefined;
  }
  const hint = error instanceof SkerryError && error.hint ? ` (${error.hint})` : "";
  return parts.join(": ") + hint;
}
