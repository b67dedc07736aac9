/** The one error shape of every Skerry API that is not Kubernetes-shaped; without the HTTP framework. */
import { SkerryError } from "../../lib/errors.ts";

/** The error body of every Skerry API that is not Kubernetes-shaped. */
export type HttpError = {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly retryable: boolean;
  };
};

const statusByCode: Readonly<Record<string, number>> = {
  unauthenticated: 401,
  forbidden: 403,
  "stream-unknown": 404,
  "collection-unknown": 404,
  "document-unknown": 404,
  "not-found": 404,
  "group-unknown": 404,
  "collection-of-hub": 409,
  "collection-of-cells": 409,
  "value-taken": 409,
  "reference-missing": 409,
  "document-referenced": 409,
  "delivery-unknown": 409,
  "delivery-overtaken": 409,
  fenced: 409,
  "retry-under-way": 409,
  compacted: 410,
  "future-revision": 410,
  "condition-failed": 412,
  "body-too-large": 413,
  "batch-too-large": 413,
  "document-too-large": 413,
  "level-impossible": 400,
  "query-too-dear": 422,
  "invalid-content-encoding": 415,
  "store-busy": 429,
  "producer-too-fast": 429,
  "rate-limited": 429,
  "quota-exceeded": 429,
  "coordination-busy": 429,
  "disk-full": 507,
};

/** Complaints of the HTTP framework itself that have a code of their own. */
const complaints = [
  { status: 413, code: "body-too-large" },
  { status: 415, code: "invalid-content-type" },
] as const;

/** Status and body for anything thrown; what is not a SkerryError tells nothing of the inside. */
export function httpErrorOf(error: unknown): { status: number; body: HttpError } {
  if (error instanceof SkerryError) {
    const { code, message, hint, retryable } = error;
    const status =
      statusByCode[code] ?? (code.startsWith("invalid-") ? 400 : retryable ? 503 : 500);
    return {
      status,
      body: { error: { code, message, retryable, ...(hint === undefined ? {} : { hint }) } },
    };
  }
  const status = clientFault(error);
  if (status !== undefined) {
    const message = error instanceof Error ? error.message : String(error);
    const code =
      complaints.find((complaint) => complaint.status === status)?.code ?? "invalid-request";
    return { status, body: { error: { code, message, retryable: false } } };
  }
  return {
    status: 500,
    body: { error: { code: "internal", message: "internal error; see the log", retryable: false } },
  };
}

/** Fastify marks its own complaints about a request with a 4xx `statusCode`. */
function clientFault(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  const status = Number(error.statusCode);
  return status >= 400 && status < 500 ? status : undefined;
}
