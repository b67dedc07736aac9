/** What the API server needs of other rooms; bound by the agent. */
import type { TLSSocket, SecureContextOptions } from "node:tls";
import type { Subject } from "../authorization/index.ts";

/**
 * Who is at the other end of a connection: a client certificate verified against the cell's anchors
 * with exactly one SPIFFE URI. Undefined for everybody else. Asked once per request, so that an
 * expired or revoked certificate ends with the request before it.
 */
export type Authenticate = (socket: TLSSocket) => Subject | undefined;

/** The serving leaf (key, cert) and the anchors (ca) that client certificates are asked for. */
export type ServingCredentials = Pick<SecureContextOptions, "key" | "cert" | "ca">;

/** Whose log is meant. */
export type PodLogTarget = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The node that the pod is bound to. */
  readonly node: string;
  readonly container: string;
};

export type PodLogOptions = {
  /** Goes on until the container ends or the signal aborts. */
  readonly follow: boolean;
  /** The log of the container's run before this one. */
  readonly previous: boolean;
  /** Each line begins with its RFC 3339 time and a blank. */
  readonly timestamps: boolean;
  readonly tailLines?: number;
  /** Only lines written at or after this wall time, milliseconds since 1970. */
  readonly sinceMs?: number;
  readonly limitBytes?: number;
  readonly signal: AbortSignal;
};

/**
 * Log bytes in order. Throws `log-unavailable` or any SkerryError when there is none to be had; an
 * error before the first bytes becomes the answer's status.
 */
export interface PodLogs {
  read(target: PodLogTarget, options: PodLogOptions): AsyncIterable<Uint8Array>;
}
