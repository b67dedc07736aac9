/** What the request load writes and the drill reads; shared by the entry and the scripts. */
import type { Pace } from "./ramp.ts";

/** Open loop over all targets together: a slow answer does not slow the next request. */
export type RequestLoadConfig = Pace & {
  /** Used in turn; idempotent ones only, for all of them may be retried on the way. Default GET. */
  readonly methods?: readonly ("GET" | "PUT" | "DELETE")[];
  readonly targets: readonly {
    readonly name: string;
    readonly url: string;
    readonly headers?: Readonly<Record<string, string>>;
  }[];
  readonly deadlineMs: number;
  /** Requests in flight at most; more are counted as failed, never skipped in silence. */
  readonly inFlightMax: number;
};

export type RequestSample = {
  /** Wall clock at which it was due, so that other processes can place it. */
  readonly atMs: number;
  readonly target: string;
  /** From when it was due (coordinated omission corrected) to the end of the body. */
  readonly tookMs: number;
  /** The pod that answered, where the answer says so. */
  readonly by?: string;
  /** Absent when it was answered with a 2xx inside the deadline. */
  readonly failure?: string;
};

export type RequestLoadResult = { readonly samples: readonly RequestSample[] };
