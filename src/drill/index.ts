export type { Drill, DrillOptions, DrillReport, FaultRecord, PromiseResult } from "./drill.ts";
import type { Drill } from "./drill.ts";
import { quick } from "./scripts/quick.ts";

export const drills: readonly Drill[] = [quick];

export { loopbackNetwork } from "./site/network.ts";
export { networkOfGuard, runAsObserver } from "./site/observer.ts";
