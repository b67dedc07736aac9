/** What the power-cut drill concludes beyond what every drill does. Pure. */
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import type { CutsResult } from "../simulated/power-cut/cuts.ts";

export type DesiredState = {
  /** The last write that was acknowledged. */
  readonly acknowledged: number;
  readonly looks: number;
  /** Looks that found an older state than was acknowledged before. */
  readonly lost: number;
};

export type PowerSeen = {
  readonly rooms: CutsResult;
  readonly roomCuts: number;
  readonly desired: DesiredState;
  /** Machines whose power was cut, each time it was; and how many of them came back. */
  readonly cut: number;
  readonly started: number;
};

const writesMin = 20;

export function powerPromises({
  rooms,
  roomCuts,
  desired,
  cut,
  started,
}: PowerSeen): PromiseResult[] {
  return [
    atLeast(
      "P1",
      "machines that started from cold after their power was cut",
      started,
      cut,
      "machines",
    ),
    atMost(
      "P2",
      "looks that found desired state older than was acknowledged",
      desired.lost,
      0,
      "looks",
    ),
    atLeast(
      "P3",
      "writes of desired state acknowledged",
      desired.acknowledged,
      writesMin,
      "writes",
    ),
    atMost(
      "P4",
      "things lost, halved or gone back in the rooms' files, over all cuts",
      rooms.complaints.length,
      0,
      "things",
    ),
    atLeast("P5", "power cuts over the rooms' files", rooms.cuts, roomCuts, "cuts"),
    atLeast(
      "P6",
      "acknowledged writes looked for in the rooms' files",
      rooms.acknowledged,
      roomCuts * 10,
      "writes",
    ),
  ];
}
