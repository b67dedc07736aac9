export {
  createGate,
  type Cleared,
  type ClearedBatch,
  type Gate,
  type GateBatch,
  type GateCounts,
  type GatedBatch,
} from "./gate.ts";
export { createRecheck, type Recheck } from "./recheck.ts";
