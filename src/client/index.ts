export { createCluster, type Cluster, type ClusterOptions } from "./cluster.ts";
export {
  applyExample,
  applyStream,
  exampleApplication,
  exampleStream,
  type ExampleOptions,
} from "./example.ts";
export { searchOf, type ClientOptions } from "./caller.ts";
export {
  createDocuments,
  type DocumentChange,
  type DocumentClient,
  type FieldChange,
  type ListOptions,
  type StoredDocument,
  type WriteOptions as DocumentWriteOptions,
  type WriteResult as DocumentWriteResult,
} from "./documents.ts";
export type {
  EntriesRequest,
  GroupsRequest,
  QueryAnswer,
  QueryCondition,
  QueryDifference,
  QueryExplained,
  QueryGroup,
  QueryRow,
  QueryWhere,
  RowsRequest,
  WindowsRequest,
} from "../api/records/index.ts";
export { followLines, type FollowedLine, type FollowOptions } from "./follow.ts";
export { applyDifferences, type LiveRequest, type LiveUpdate } from "./live.ts";
export type { Token } from "./token.ts";
export { createCoordination } from "./coordination/coordination.ts";
export type {
  ChangeBatch,
  ChangeEvent,
  ClaimOptions,
  CoordinationClient,
  CoordinationOptions,
  FenceToken,
  Holder,
  KeyEntry,
  Leadership,
  Lock,
  PutOptions,
  ReadOptions,
  Session,
  WriteOptions,
  WriteOutcome,
} from "./coordination/types.ts";
export {
  importCsv,
  sendCsv,
  type CsvSource,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
  type SendBatch,
} from "./csv/import.ts";
export type {
  BatchOptions,
  ConsumerGroup,
  GroupBatch,
  GroupEntry,
  GroupOptions,
  GroupResult,
  GroupStart,
  GroupStatus,
} from "./streams-groups.ts";
export type {
  Batch,
  BatchesOptions,
  ColumnKind,
  ColumnKinds,
  ColumnOf,
} from "./streams-batches.ts";
export type { AppendOptions, AppendResult } from "./streams-append.ts";
export type { Entry } from "./streams-entry.ts";
export { createClient, type QueryOptions, type StreamClient, type TailOptions } from "./streams.ts";
