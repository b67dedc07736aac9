/** The etcd engine's door. gRPC is loaded by those who open something, and by nobody else. */
import type {
  EtcdCluster,
  EtcdConnectOptions,
  EtcdDeps,
  EtcdLedger,
  EtcdLedgerOptions,
} from "./types.ts";

export type {
  EtcdAlarm,
  EtcdCluster,
  EtcdConnectOptions,
  EtcdCredentials,
  EtcdDeps,
  EtcdEndpoint,
  EtcdLedger,
  EtcdLedgerOptions,
  EtcdMember,
  EtcdMemberStatus,
  EtcdWitness,
} from "./types.ts";

/** Throws `ledger-unavailable` when no quorum of members answers in time; try again then. */
export async function openEtcdLedger(
  deps: EtcdDeps,
  options: EtcdLedgerOptions,
): Promise<EtcdLedger> {
  const engine = await import("./ledger.ts");
  return await engine.openEtcdLedger(deps, options);
}

/** A cluster without its ledger: for a server that joins one, or a cell that lost its quorum. */
export async function openEtcdCluster(
  deps: EtcdDeps,
  options: EtcdConnectOptions,
): Promise<EtcdCluster & Disposable> {
  const engine = await import("./cluster.ts");
  return engine.openEtcdCluster(deps, options);
}

export {
  defaultTimers,
  etcdCommand,
  etcdUrl,
  type EtcdCommand,
  type EtcdMemberOptions,
  type EtcdTimers,
  type EtcdTlsFiles,
} from "./process/flags.ts";
export {
  assertReads,
  detectEtcd,
  parseEtcdVersion,
  versionText,
  type EtcdVersion,
} from "./process/version.ts";
export {
  createEtcdSupervisor,
  etcdLabel,
  type EtcdState,
  type EtcdSupervisor,
  type EtcdSupervisorEvents,
  type EtcdSupervisorOptions,
} from "./process/supervisor.ts";
export { addLearnerOnceConnected } from "./connected.ts";
export { eventOfLine, type EtcdEvent } from "./process/log-events.ts";
export { restartSafely, whyNotRestart } from "./process/rolling.ts";
export {
  createTimersBook,
  createWindow,
  firstState,
  parseSample,
  planTimers,
  probeFsync,
  sameTimers,
  startTimers,
  timersAtStart,
  timerSteps,
  type Measurement,
  type MemberReport,
  type TimedMember,
  type TimerReport,
  type Timers,
  type TimersBook,
  type TimersPace,
  type TimerState,
  type WantedTimers,
} from "./timers/index.ts";
