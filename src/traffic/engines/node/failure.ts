/** Why an attempt gave no answer, in the terms that a retry is decided by. */
import { SkerryError, systemCode } from "../../../lib/errors.ts";

/** What failed: one endpoint, or the way to everything on its node. */
export type Blame = "endpoint" | "node";

export type Failure = {
  /**
   * `not-sent`: no byte of the request reached the application. `maybe-sent`: it may have, and the
   * connection broke before the answer. `timeout`: it had its time.
   */
  readonly state: "not-sent" | "maybe-sent" | "timeout";
  readonly blame: Blame;
  readonly cause: unknown;
};

/** Thrown by our own connectors: nothing was sent. */
export class ConnectFailed extends Error {
  readonly blame: Blame;
  constructor(message: string, options: { blame: Blame; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.name = "ConnectFailed";
    this.blame = options.blame;
  }
}

/** An answer that itself says that the attempt failed. */
export class AttemptFailed extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super("the attempt failed", { cause: failure.cause });
    this.failure = failure;
  }
}

/** Aborts attempts at a node that does not answer any more. */
export class NodeSilent extends Error {
  /** It was waited for as long as made sense; another attempt would not be the answer. */
  readonly gaveUp: boolean;
  constructor(message: string, options: { gaveUp: boolean }) {
    super(message);
    this.name = "NodeSilent";
    this.gaveUp = options.gaveUp;
  }
}

const notSentCodes = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EHOSTDOWN",
  "EADDRNOTAVAIL",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_CLOSED",
]);
const timeoutCodes = new Set(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"]);

/** `started`: whether the request had a connection to be written to. */
export function failureOf(error: unknown, { started = true } = {}): Failure {
  if (error instanceof AttemptFailed) return error.failure;
  if (error instanceof ConnectFailed)
    return { state: "not-sent", blame: error.blame, cause: error };
  if (error instanceof NodeSilent) {
    const state = !started ? "not-sent" : error.gaveUp ? "timeout" : "maybe-sent";
    return { state, blame: "node", cause: error };
  }
  const code = systemCode(error) ?? "";
  if (notSentCodes.has(code) || !started)
    return { state: "not-sent", blame: "endpoint", cause: error };
  if (timeoutCodes.has(code)) return { state: "timeout", blame: "endpoint", cause: error };
  return { state: "maybe-sent", blame: "endpoint", cause: error };
}

/** What the mesh says in its `skerry-mesh-error` header. */
const failureByMeshError: Readonly<Record<string, Pick<Failure, "state" | "blame">>> = {
  "endpoint-unknown": { state: "not-sent", blame: "endpoint" },
  "not-sent": { state: "not-sent", blame: "endpoint" },
  "maybe-sent": { state: "maybe-sent", blame: "endpoint" },
  timeout: { state: "timeout", blame: "endpoint" },
  stopping: { state: "not-sent", blame: "node" },
};

export function meshFailure(code: string): Failure {
  const known = failureByMeshError[code] ?? { state: "maybe-sent", blame: "endpoint" };
  return { ...known, cause: new Error(`the mesh answered "${code}"`) };
}

/** Status and words for the client when no attempt succeeded. */
export function answerFor(
  backend: string,
  failure: Failure,
): { status: number; error: SkerryError } {
  switch (failure.state) {
    case "not-sent":
      return {
        status: 503,
        error: new SkerryError({
          code: "backend-unreachable",
          message: `no pod of ${backend} can be reached`,
          hint: "the request was not sent to any; try again",
          retryable: true,
        }),
      };
    case "maybe-sent":
      return {
        status: 502,
        error: new SkerryError({
          code: "backend-failed",
          message: `a pod of ${backend} broke the connection before it answered`,
          hint: "the request may have been carried out",
          retryable: false,
        }),
      };
    case "timeout":
      return {
        status: 504,
        error: new SkerryError({
          code: "backend-timeout",
          message: `a pod of ${backend} did not answer in time`,
          hint: "the request may have been carried out",
          retryable: false,
        }),
      };
  }
}
