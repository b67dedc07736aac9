/** Counters of the proxy thread, told to the main thread as what was added since the last time. */
export type CountName =
  | "ingress-2xx"
  | "ingress-3xx"
  | "ingress-4xx"
  | "ingress-5xx"
  | "ingress-aborted"
  | "mesh-requests"
  | "mesh-refused"
  | "retries"
  | "attempts-failed"
  | "upgrades";

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
