export {
  createGate,
  type Cleared,
  type ClearedBatch,
  type Gate,
  type GateBatch,
  type GateCounts,
  type GatedBatch,
} from "./gate.ts";
export { createNarrowing, type Narrowing } from "./narrowing.ts";
export { createRecheck, type Recheck } from "./recheck.ts";
export type { CollectionEgress } from "./policy.ts";
export type { GatedSnapshot } from "./states.ts";
export {
  createOperationGate,
  createOperationRecheck,
  type ClearedOperations,
  type GatedOperations,
  type OperationGate,
  type OperationLog,
  type OperationRecheck,
} from "./operations.ts";
