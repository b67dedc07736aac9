export { apiVersionOf, type Column, type FieldIssue, type KindDefinition } from "./kind.ts";
export type { KubeObject, ObjectKey, ObjectMeta, OwnerReference } from "./records/object.ts";
export {
  entryLimits,
  formatDurabilityLevel,
  parseDurabilityLevel,
  type AppendOutcome,
  type DurabilityLevel,
  type EntryInput,
  type EntryKey,
  type EntryPosition,
  type StoredEntry,
} from "./records/entry.ts";
export { parseTopicFilter, type TopicFilter } from "./records/topic-filter.ts";
export {
  columnsOf,
  entriesOf,
  pick,
  withBodies,
  type EntryColumns,
} from "./records/entry-columns.ts";
export {
  beatBytesMax,
  decodeBeat,
  encodeBeat,
  splitBeat,
  type Beat,
  type BeatParts,
} from "./records/beat.ts";
export type { BackupReport } from "./records/backup.ts";
export type { EgressPolicy } from "./records/egress.ts";
export {
  hubName,
  ladderRungs,
  ledgerEar,
  type DeafLink,
  type Ladder,
  type LadderRung,
  type NodeVerdict,
  type ReachMark,
  type ReachPath,
  type ReachRecord,
  type ReachRow,
} from "./records/health.ts";
export type { ServerLine, ServerProgress, ServersView, ServerVerb } from "./records/servers.ts";
export type { LedgerTimers, LedgerTimersOfMember, LedgerTimersView } from "./records/timers.ts";
export {
  witnessBundleSchema,
  witnessName,
  type WitnessBundle,
  type WitnessRequest,
} from "./records/witness.ts";
export { tellEars, tellUnreachable, tellVerdict } from "./records/verdict-words.ts";
export type {
  BacklogStatus,
  CellStatus,
  FailureLine,
  FleetStatus,
  HubStatus,
  LedgerReport,
  NodeReport,
  PodStatusLine,
  StreamStatusLine,
} from "./records/status.ts";

export { kindByObject, kindByResource, kinds } from "./kinds/all.ts";
export {
  canHoldAddress,
  cellAddressAnnotation,
  cellAddressKind,
  isAddressInNetwork,
  whyNotHold,
  withoutPrefix,
  type CellAddress,
} from "./kinds/cell-address.ts";
export { collectionKind, isStrong, type Collection } from "./kinds/collection.ts";
export type { CollectionFieldType } from "./kinds/collection-fields.ts";
export { conditionIsTrue, withCondition, type Condition } from "./kinds/conditions.ts";
export { configMapKind, type ConfigMap } from "./kinds/config-map.ts";
export { deploymentKind, type Deployment, type PodTemplate } from "./kinds/deployment.ts";
export {
  endpointsKind,
  type EndpointAddress,
  type Endpoints,
  type EndpointSubset,
} from "./kinds/endpoints.ts";
export { eventKind, type Event, type ObjectReference } from "./kinds/event.ts";
export { ingressKind, type Ingress, type IngressBackend } from "./kinds/ingress.ts";
export { leaseKind, type Lease } from "./kinds/lease.ts";
export { ageOf, type ManagedFieldsEntry } from "./kinds/metadata.ts";
export { namespaceKind, type Namespace } from "./kinds/namespace.ts";
export { addressOf, nodeKind, type Node, type Taint } from "./kinds/node.ts";
export {
  endpointsOf,
  formatPorts,
  portsAnnotation,
  type NodeEndpoints,
  type NodePorts,
} from "./kinds/node-endpoints.ts";
export type { Container, EnvVar, PodSpec, Probe, Volume } from "./kinds/pod-spec.ts";
export type { LabelSelector, NodeSelectorTerm, Toleration } from "./kinds/pod-placement.ts";
export {
  podIsReady,
  podKind,
  podStatusText,
  type ContainerState,
  type ContainerStatus,
  type Pod,
  type PodStatus,
} from "./kinds/pod.ts";
export {
  onPartitionOf,
  partitionTtlDefaultMs,
  partitionTtlMsOf,
  partitionWaitOf,
} from "./kinds/pod-partition.ts";
export { replicaSetKind, type ReplicaSet } from "./kinds/replica-set.ts";
export { isScalable, scaleOf, scaleSchema, type Scale } from "./kinds/scale.ts";
export { serviceKind, type Service, type ServicePort } from "./kinds/service.ts";
export { streamKind, type Stream, type StreamEgress } from "./kinds/stream.ts";
export {
  builtInNamespaces,
  defaultNamespace,
  deploymentRevisionAnnotation,
  hostImage,
  hostnameLabel,
  namespaceFinalizer,
  nodeLeaseNamespace,
  notReadyTaint,
  fenceAnnotation,
  onPartitionAnnotation,
  onPartitionValues,
  partitionTtlAnnotation,
  podLeasesAnnotation,
  podTemplateHashLabel,
  processRuntimeClass,
  restartedAtAnnotation,
  roleLabelPrefix,
  serverRoleLabel,
  systemNamespace,
  unreachableTaint,
  unschedulableTaint,
  type OnPartition,
} from "./kinds/well-known.ts";
export { checkObject, pruneFields, unknownFields, type Checked } from "./schema/check.ts";
export { structureOf, type Structure } from "./schema/structure.ts";
export {
  formatFieldSelector,
  matchesFields,
  parseFieldSelector,
  selectableFields,
  type FieldRequirement,
} from "./values/field-selector.ts";
export {
  formatLabelSelector,
  formatRequirements,
  matchesLabels,
  matchesRequirements,
  parseLabelSelector,
  requirementsOf,
  type LabelRequirement,
} from "./values/label-selector.ts";
export {
  dnsLabelProblem,
  dnsSubdomainProblem,
  labelKeyProblem,
  labelValueProblem,
} from "./values/names.ts";
export { isQuantity, parseMilliQuantity, parseQuantity, type Quantity } from "./values/quantity.ts";
export { sameValue, stable } from "../lib/stable.ts";
