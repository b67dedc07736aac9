/**
 * A drill: faults injected on purpose into a throw-away hub and cell made of real processes, under an
 * open-loop load, with the promises it tests measured from outside. `DrillReport` is what `--json`
 * prints as its last line.
 */
import type { Clock } from "../lib/clock.ts";
import type { Random } from "../lib/random.ts";
import type { Network } from "./site/network.ts";

export type PromiseResult = {
  /** Stable within a drill: A1, D1, … */
  readonly id: string;
  readonly text: string;
  readonly limit: number;
  /** `Number.MAX_SAFE_INTEGER` for what never came, or was not measured. */
  readonly measured: number;
  readonly unit: string;
  readonly ok: boolean;
};

export type FaultRecord = {
  /** Since the load began. */
  readonly atMs: number;
  readonly fault: string;
  /** Until what the fault took away was back; absent when it took nothing away. */
  readonly recoveredMs?: number;
};

export type DrillReport = {
  readonly drill: string;
  readonly ok: boolean;
  readonly seed: number;
  readonly promises: readonly PromiseResult[];
  readonly load: {
    readonly sent: number;
    readonly failed: number;
    readonly p50Ms: number;
    readonly p99Ms: number;
    readonly availability: number;
  };
  readonly data: {
    readonly acknowledged: number;
    readonly lost: number;
    readonly duplicated: number;
  };
  readonly faults: readonly FaultRecord[];
};

export type DrillOptions = {
  readonly seed: number;
  /** How long the load runs; the script spreads its faults over it. */
  readonly forMs: number;
  /**
   * From 1 on: how much slower than a machine of its own this one may be. Divides the load,
   * multiplies what a request may take and every limit in ms; counts stay as strict as they are.
   */
  readonly slowness: number;
  /** Where the throw-away site lives; removed afterwards unless the drill failed. */
  readonly dir: string;
  /** What the site's machines stand on. */
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** One line of progress for a person. */
  progress(text: string): void;
};

export type Drill = {
  readonly name: string;
  readonly summary: string;
  /** What it takes away, in order, in words. */
  readonly faults: readonly string[];
  /**
   * `links`: machines between which links can be cut, that is, network namespaces. `machines`: those, or
   * loopback addresses where there are none. `nothing`: it is simulated.
   */
  readonly needs: "links" | "machines" | "nothing";
  readonly defaultForMs: number;
  run(options: DrillOptions): Promise<DrillReport>;
};

/** `measured` must not exceed `limit`. */
export function atMost(
  id: string,
  text: string,
  measured: number,
  limit: number,
  unit: string,
): PromiseResult {
  return { id, text, limit, measured, unit, ok: measured <= limit };
}

/** `measured` must reach `limit`. */
export function atLeast(
  id: string,
  text: string,
  measured: number,
  limit: number,
  unit: string,
): PromiseResult {
  return { id, text, limit, measured, unit, ok: measured >= limit };
}
