/**
 * Errors as Kubernetes says them: a `Status` object whose message and causes name the field
 * (kubernetes/community, api-conventions, "Response Status Kind").
 */
import type { KindDefinition } from "../api/index.ts";
import { isAbort, SkerryError } from "../lib/errors.ts";
import type { WriteRefusal } from "../resources/index.ts";

export type StatusCause = {
  readonly reason?: string;
  readonly message: string;
  readonly field?: string;
};

export type Status = {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Readonly<Record<string, never>>;
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: {
    readonly name?: string;
    readonly group?: string;
    readonly kind?: string;
    readonly uid?: string;
    readonly causes?: readonly StatusCause[];
    readonly retryAfterSeconds?: number;
  };
  readonly code: number;
};

/** An answer other than the one asked for. Thrown inside this room, sent as its `status`. */
export class StatusError extends Error {
  readonly status: Status;

  constructor(status: Status, options?: { cause?: unknown }) {
    super(status.message, options);
    this.name = "StatusError";
    this.status = status;
  }
}

const httpCodeByReason = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  Conflict: 409,
  AlreadyExists: 409,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
} as const;

export type StatusReason = keyof typeof httpCodeByReason;

export function failure(
  reason: StatusReason,
  message: string,
  details?: Status["details"],
): StatusError {
  return new StatusError({
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    ...(details === undefined ? {} : { details }),
    code: httpCodeByReason[reason],
  });
}

export const badRequest = (message: string, causes?: readonly StatusCause[]) =>
  failure("BadRequest", message, causes === undefined ? undefined : { causes });

export function success(details: Status["details"], code = 200): Status {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    ...(details === undefined ? {} : { details }),
    code,
  };
}

/** `deployments.apps`, or `pods` in the core group. */
export function qualified(kind: Pick<KindDefinition, "group" | "plural">): string {
  return kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
}

export function notFound(kind: KindDefinition, name: string): StatusError {
  return failure("NotFound", `${qualified(kind)} "${name}" not found`, {
    name,
    group: kind.group,
    kind: kind.plural,
  });
}

const reasonByRefusal = {
  conflict: "Conflict",
  exists: "AlreadyExists",
  "not-found": "NotFound",
  invalid: "Invalid",
  forbidden: "Forbidden",
  gone: "Expired",
} as const satisfies Record<WriteRefusal["reason"], StatusReason>;

/** What a refused write answers. */
export function refusalError(
  kind: KindDefinition,
  name: string,
  refusal: WriteRefusal,
): StatusError {
  const causes = refusal.causes?.map(({ field, message }) => ({
    reason: refusal.reason === "conflict" ? "FieldManagerConflict" : "FieldValueInvalid",
    message,
    field,
  }));
  return failure(reasonByRefusal[refusal.reason], messageOfRefusal(kind, name, refusal), {
    name,
    group: kind.group,
    kind: refusal.reason === "invalid" ? kind.kind : kind.plural,
    ...(causes === undefined ? {} : { causes }),
  });
}

/** Clients such as kubectl look for the standard sentences; ours follows them. */
function messageOfRefusal(kind: KindDefinition, name: string, refusal: WriteRefusal): string {
  const { reason, message, causes } = refusal;
  switch (reason) {
    case "exists":
      return `${qualified(kind)} "${name}" already exists`;
    case "not-found":
      // What is missing may be something else, such as the namespace.
      return message.includes("not found") ? message : `${qualified(kind)} "${name}" not found`;
    case "invalid": {
      const type = kind.group === "" ? kind.kind : `${kind.kind}.${kind.group}`;
      const faults = causes?.map((cause) => `${cause.field}: ${cause.message}`);
      return `${type} "${name}" is invalid: ${faults && faults.length > 0 ? faults.join("; ") : message}`;
    }
    case "conflict":
      return causes && causes.length > 0
        ? message
        : `Operation cannot be fulfilled on ${qualified(kind)} "${name}": ${message}`;
    case "forbidden":
      return `${qualified(kind)} "${name}" is forbidden: ${message}`;
    case "gone":
      return message;
  }
}

/** A write that may or may not have happened: the reader is told to look. */
export function unknownOutcome(kind: KindDefinition, name: string, cause: Error): StatusError {
  return failure(
    "Timeout",
    `the outcome of this write to ${qualified(kind)} "${name}" is unknown: it may or may not have happened (${cause.message}); read the object before trying again`,
    { name, group: kind.group, kind: kind.plural },
  );
}

/** Codes by which rooms below say that desired state is out of reach. */
const serverLostCodes: ReadonlySet<string> = new Set(["server-lost", "ledger-unavailable"]);

/** The answer to anything thrown. What is nobody's known error tells nothing of the inside. */
export function statusOf(error: unknown): Status {
  if (error instanceof StatusError) return error.status;
  if (isAbort(error)) {
    return failure("ServiceUnavailable", "the request was ended before it was done").status;
  }
  if (!(error instanceof SkerryError)) {
    return failure("InternalError", "internal error; see the log of this node").status;
  }
  const { code, message, hint, retryable } = error;
  if (code === "quorum-lost") return outOfReach(code, message, hint).status;
  if (serverLostCodes.has(code)) return serverLost(message, hint).status;
  const text = hint === undefined ? message : `${message} (${hint})`;
  const causes = [{ reason: code, message: hint ?? message }];
  if (code === "compacted" || code === "future-revision") {
    return failure("Expired", text, { causes }).status;
  }
  if (code.startsWith("invalid-")) return failure("BadRequest", text, { causes }).status;
  if (code.endsWith("-not-found") || code === "log-unavailable") {
    return failure("NotFound", text, { causes }).status;
  }
  return failure(retryable ? "ServiceUnavailable" : "InternalError", text, { causes }).status;
}

/** Desired state cannot be changed, or not be read, here and now. */
export const serverLost = (message: string, hint?: string): StatusError =>
  outOfReach("server-lost", message, hint);

function outOfReach(
  reason: "server-lost" | "quorum-lost",
  message: string,
  hint = serverLostHint,
): StatusError {
  return failure("ServiceUnavailable", `${reason}: ${message} (${hint})`, {
    causes: [{ reason, message: hint }],
  });
}

export const serverLostHint =
  "workloads, local data and ingress go on; try again when a server of the cell is back, or see `skerry status`";

/** Whether an error deserves a line in the log: a client's fault and lost servers do not. */
export function isOurFault(error: unknown): boolean {
  return !(error instanceof StatusError) && !isAbort(error) && statusOf(error).code === 500;
}
