export {
  connectKeeper,
  ensureKeeper,
  type Keeper,
  type KeeperClientOptions,
  type KeeperDeps,
  type KeeperEvents,
  type KeeperProcesses,
} from "./client.ts";
export { keeperPid, releaseKeeper, type KeeperFlags } from "./start.ts";
export type {
  AgentSpec,
  AgentState,
  BeatConfiguration,
  BeatPeer,
  ContainerSpec,
  ContainerState,
  ContainerStatus,
  Enforcement,
  ExecResult,
  Exit,
  ExitReason,
  KeeperStatus,
} from "./protocol.ts";
