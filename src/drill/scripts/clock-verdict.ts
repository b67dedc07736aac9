/** What `clock` concludes beyond what every drill does. Pure. */
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import { notMeasured, podsChanged } from "./verdict.ts";

export type ClockSeen = {
  /** Documents written on a machine with a wrong clock, and then over it elsewhere. */
  readonly tries: number;
  /** Copies of them in which the write that came first stood over the one that knew it. */
  readonly undone: number;
  readonly incremented: number;
  /** What the counter says in the end, on each node. */
  readonly counted: readonly number[];
  /** 1: the nodes' documents were not equal in the end. */
  readonly unequal: number;
  /** Processes of the pods, by pod, before the first step and after the last one of a running machine. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  readonly podsOff: number;
};

const triesMin = 8;

export function clockPromises(seen: ClockSeen): PromiseResult[] {
  const { before, after, counted, incremented } = seen;
  const miscounted = counted.map((count) => Math.abs(count - incremented));
  return [
    atLeast(
      "C1",
      "documents written under a wrong clock, then over it",
      seen.tries,
      triesMin,
      "documents",
    ),
    atMost("C2", "copies in which a write lost to one that it knew", seen.undone, 0, "copies"),
    atMost(
      "C3",
      "acknowledged counts lost or doubled, on the worst node",
      counted.length === 0 ? notMeasured : Math.max(...miscounted),
      0,
      "counts",
    ),
    atMost("C4", "nodes' documents differ in the end", seen.unequal, 0, "differences"),
    atMost(
      "C5",
      "pods begun anew or gone while clocks stepped under running machines",
      podsChanged(before, after),
      0,
      "pods",
    ),
    atMost("C6", "pods too many or too few at the end", seen.podsOff, 0, "pods"),
  ];
}
