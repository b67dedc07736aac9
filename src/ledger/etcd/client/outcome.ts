/**
 * What a failed call of etcd means for what it asked. Only an allow-list is definite: gRPC's code 14
 * covers calls that never left as well as calls that were applied and whose answer was lost (of 24
 * that failed at a kill of their member, 16 had been applied).
 */
import { status as grpcStatus } from "@grpc/grpc-js";

export type FailureKind =
  /** The server looked at it and refused; another member would say the same. */
  | "refused"
  /** It never left, or was dropped before anybody could apply it; another member may take it. */
  | "not-done"
  /** It may have been done, or may yet be. */
  | "unknown";

export class EtcdFailure extends Error {
  readonly kind: FailureKind;
  readonly code: number;
  /** The server's words. */
  readonly details: string;

  constructor(
    kind: FailureKind,
    init: { code: number; details: string; member: string; cause?: unknown },
  ) {
    super(
      `${init.member}: ${init.details}`,
      init.cause === undefined ? undefined : { cause: init.cause },
    );
    this.name = "EtcdFailure";
    this.kind = kind;
    this.code = init.code;
    this.details = init.details;
  }
}

/** Codes with which etcd refuses before it proposes anything, or when it applies it. */
const refusals: ReadonlySet<number> = new Set([
  grpcStatus.INVALID_ARGUMENT,
  grpcStatus.NOT_FOUND,
  grpcStatus.ALREADY_EXISTS,
  grpcStatus.PERMISSION_DENIED,
  grpcStatus.RESOURCE_EXHAUSTED,
  grpcStatus.FAILED_PRECONDITION,
  grpcStatus.OUT_OF_RANGE,
  grpcStatus.UNIMPLEMENTED,
  grpcStatus.DATA_LOSS,
]);

/** Said before a request is proposed, or by raft when it takes none. */
const dropped = [
  "No connection established",
  "Channel closed before call started",
  "raft proposal dropped",
  "etcdserver: too many requests",
  "etcdserver: rpc not supported for learner",
  "etcdserver: not capable",
  "etcdserver: unhealthy cluster",
];

export function classify(failure: { code: number; details: string }): FailureKind {
  const { code, details } = failure;
  if (dropped.some((words) => details.startsWith(words))) return "not-done";
  // Without the prefix the words are the client's own, and may be about the answer.
  if (refusals.has(code) && details.startsWith("etcdserver: ")) return "refused";
  return "unknown";
}
