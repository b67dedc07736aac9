/** What the controllers need beyond `resources`; bound in `agent/`. */
import type { Node, NodeVerdict, Pod } from "../api/index.ts";

/** How long a node may be silent: longer than usual when it came back from silence several times. */
export type Tolerance = {
  readonly flaps: number;
  readonly toleratedMs: number;
  readonly usualMs: number;
};

/** Rule E. `because` is a sentence for a condition or an event; with `againMs` it is not decided yet. */
export type MayEvict = {
  readonly allowed: boolean;
  readonly because: string;
  readonly againMs?: number;
};

/** Membership's conclusions, as of the moment of the call. */
export interface Verdicts {
  /** The node that concludes. */
  readonly self: string;
  verdicts(): ReadonlyMap<string, NodeVerdict>;
  mayEvict(node: string): MayEvict;
  /** Undefined: not a known node, or this one. */
  tolerance(node: string): Tolerance | undefined;
  /** Called when a node's state changes (not when only `forMs` grows). Returns the unsubscriber. */
  onChange(listener: (node: string) => void): () => void;
}

/** What the scheduler must know of the workload drivers. */
export type Drivers = {
  /** Whether `node` runs pods of this runtime class; undefined is the node's default driver. */
  offers(node: Node, runtimeClassName: string | undefined): boolean;
  /** Ports of the node that the pod would occupy there, as `8080/TCP`. */
  hostPorts(pod: Pod, node: Node): readonly string[];
};
