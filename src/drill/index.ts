export type { Drill, DrillOptions, DrillReport, FaultRecord, PromiseResult } from "./drill.ts";
import type { Drill } from "./drill.ts";
import { clock } from "./scripts/clock.ts";
import { clone } from "./scripts/clone.ts";
import { convergence } from "./scripts/convergence.ts";
import { hubLoss } from "./scripts/hub-loss.ts";
import { leaderKill } from "./scripts/leader-kill.ts";
import { longOffline } from "./scripts/long-offline.ts";
import { nemesis } from "./scripts/nemesis.ts";
import { nodeKill } from "./scripts/node-kill.ts";
import { oneAddress } from "./scripts/one-address.ts";
import { partition } from "./scripts/partition.ts";
import { powerCut } from "./scripts/power-cut.ts";
import { quorumLoss } from "./scripts/quorum-loss.ts";
import { quick } from "./scripts/quick.ts";
import { restore } from "./scripts/restore.ts";
import { serverLost } from "./scripts/server-lost.ts";
import { slowDisk } from "./scripts/slow-disk.ts";
import { soak } from "./scripts/soak.ts";
import { witness } from "./scripts/witness.ts";

export const drills: readonly Drill[] = [
  quick,
  nodeKill,
  serverLost,
  powerCut,
  leaderKill,
  quorumLoss,
  witness,
  partition,
  slowDisk,
  oneAddress,
  restore,
  clock,
  clone,
  hubLoss,
  longOffline,
  nemesis,
  convergence,
  soak,
];

export { loopbackNetwork } from "./site/network.ts";
export { guardedBy, networkOfGuard, runAsObserver, type Guarded } from "./site/observer.ts";
