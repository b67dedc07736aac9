export {
  startNodeReporter,
  type NodeObjects,
  type NodeReporter,
  type NodeWrite,
} from "./node/reporter.ts";
export {
  startNodeLease,
  type LeaseKeeper,
  type LeaseObjects,
  type LeaseWrite,
  type NodeLease,
} from "./node/node-lease.ts";
export { createSingleStarts } from "./node/single-starts.ts";
export {
  type Driver,
  type DriverAbilities,
  type ExecOutcome,
  type Instance,
  type InstanceSpec,
  type InstanceState,
  type LogOptions,
} from "./driver.ts";
export {
  createPodRunner,
  type OpenLogsOptions,
  type PodRunner,
  type PodRunnerDeps,
  type PodRunnerOptions,
} from "./pods/pod-runner.ts";
export type {
  Admission,
  ConfigMapSource,
  PodEnvironment,
  PodEvent,
  PodSource,
  ProcessHost,
  ReportOutcome,
  Rotation,
  SingleStarts,
  StatusSink,
} from "./ports.ts";
export { createProcessDriver } from "./process/process-driver.ts";
