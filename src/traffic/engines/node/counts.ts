/**
 * Counters of the proxy thread, told to the main thread as what was added since the last time. A
 * name is `family:label`; the families become metrics in `metrics.ts`.
 */
export type RequestOutcome = "2xx" | "3xx" | "4xx" | "5xx" | "cut" | "client-gone";

/** Why the ingress did not take a request, or took a connection away. */
export type RefusalReason =
  | "headers-timeout"
  | "body-timeout"
  | "headers-too-large"
  | "body-too-large"
  | "malformed"
  | "ambiguous"
  | "busy"
  | "overloaded"
  | "slow-reader"
  | "idle-connection"
  | "connections";

export type CountName =
  | `requests:${RequestOutcome}`
  | `refused:${RefusalReason}`
  | `attempts-failed:${"not-sent" | "maybe-sent" | "timeout"}`
  | `retries:${"not-sent" | "maybe-sent"}`
  | "retries-denied:all"
  | "ejections:all"
  | "nodes-silent:all"
  | `pings:${"pong" | "lost"}`
  | "panics:all"
  | "upgrades:all"
  | "mesh-requests:all"
  | `mesh-refused:${"peer" | "handshake" | "endpoint-unknown"}`;

/** What stands now; told as it is. */
export type Levels = {
  readonly connections: number;
  readonly underWay: number;
  readonly silentNodes: number;
  readonly keptBytes: number;
};

export type Counts = Partial<Record<CountName, number>>;

export interface Counter {
  add(name: CountName): void;
  /** Since the last call; undefined when nothing was counted. */
  take(): Counts | undefined;
}

export function createCounter(): Counter {
  let counts: Counts = {};
  return {
    add(name) {
      counts[name] = (counts[name] ?? 0) + 1;
    },
    take() {
      const taken = counts;
      counts = {};
      return Object.keys(taken).length > 0 ? taken : undefined;
    },
  };
}
