export { agentConfigKeys } from "./config-keys.ts";
export { agentConfigSchema, type AgentConfig } from "./config.ts";
export { findEtcd } from "./etcd-runner.ts";
export { examineHost, type Finding } from "./doctor.ts";
export { timerFindings } from "./timer-words.ts";
export { followNode, startNode, stopNode } from "./launch.ts";
export { examineNodeConfig, type Preflight } from "./preflight.ts";
export { keptBackups, proveBackupFile, readKeyHere } from "./kept-backups.ts";
export { planRecover, type RecoverPlan } from "./recover-plan.ts";
export { recoverCell, type Recovered } from "./recover.ts";
export { planRestore, restoreCell, type Restored, type RestorePlan } from "./restore.ts";
export {
  adoptBundle,
  readAdopted,
  readBundle,
  runWitnessHere,
  witnessStatusHere,
  type WitnessStatus,
} from "./witness.ts";
export { mintLocalToken, readAgentInfo, renderAccessKubeconfig, type AgentInfo } from "./local.ts";
