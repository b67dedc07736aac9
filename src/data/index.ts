export type {
  AppendAnswer,
  ApplyAnswer,
  EncodedBatch,
  Grown,
  LocalStreamStore,
  ColumnBatch,
  LogBatch,
  LogQuery,
  ReadEntry,
  ReadPage,
  ReadQuery,
  StoreStatus,
  StreamDeclaration,
  StreamStatus,
  StreamStore,
  Vector,
} from "./streams/store.ts";
export type { SealingOptions } from "./streams/sealer.ts";
export { openStreamStore, type StreamStoreOptions } from "./streams/sqlite-store.ts";
export {
  connectStreamStore,
  serveStreamStore,
  type ConnectOptions,
  type StreamEvents,
  type StreamMethods,
} from "./streams/thread.ts";
export {
  bodyBytesMax,
  entriesPerRequestMax,
  producerBytesMax,
  requestBytesMax,
} from "./streams/check.ts";
export type {
  ChangesPage,
  ChangesQuery,
  CollectionDeclaration,
  CollectionEgress,
  Conflict,
  Document,
  DocumentChange,
  DocumentsGrown,
  DocumentsStatus,
  DocumentStore,
  DocumentWrite,
  FieldChange,
  FieldDeclaration,
  FieldType,
  ListPage,
  ListQuery,
  LocalDocumentStore,
  OperationLog,
  WriteAnswer,
} from "./documents/store.ts";
export { openDocumentStore, type DocumentStoreOptions } from "./documents/sqlite-store.ts";
export {
  connectDocumentStore,
  serveDocumentStore,
  type DocumentEvents,
  type DocumentMethods,
} from "./documents/thread.ts";
export { createExpiring, type Expiring } from "./documents/expiring.ts";
export { decodeBatch, encodeBatch } from "./batch/codec.ts";
export { decodeLeaving, encodeLeaving, encodeLeavingSnapshot } from "./documents/leaving.ts";
export type {
  ClearedLog,
  DocumentEgress,
  DocumentHub,
  Egress,
  Gate,
  Hub,
  OperationGate,
  OperationRecheck,
} from "./ports.ts";
export {
  createReplication,
  type Replication,
  type ReplicationOptions,
} from "./replication/peers.ts";
export {
  createTruncation,
  type Truncation,
  type TruncationOptions,
} from "./replication/truncation.ts";
export {
  createSegmentRepair,
  type SegmentRepair,
  type SegmentRepairOptions,
} from "./replication/segment-repair.ts";
export {
  createHubBudget,
  type HubBudget,
  type HubBudgetStatus,
  type Limits,
} from "./replication/hub-budget.ts";
export { parseLane } from "./tables/lanes.ts";
export { logsAndLanes } from "./replication/logs-and-lanes.ts";
export { wholeReads } from "./replication/whole-reads.ts";
export { createHubNews, type HubNews } from "./replication/hub-news.ts";
export { wordOfDocuments, wordOfStreams } from "./replication/hub-word.ts";
export { createHubSync, type HubSync, type HubSyncOptions } from "./replication/hub-sync.ts";
export { createDocumentsSync, type DocumentsSync } from "./replication/documents-hub.ts";
export { createDocumentsPull, type DocumentsPull } from "./replication/documents-pull.ts";
export {
  connectDocumentHub,
  connectHub,
  registerGlobalDocuments,
  registerGlobalStore,
} from "./replication/hub-link.ts";
export { createDurability, type Durability, type DurabilityDeps } from "./durability/durability.ts";
export type {
  GlobalEntry,
  GlobalGrown,
  GlobalPage,
  GlobalQuery,
  GlobalStore,
  GlobalStreamStatus,
  Recheck,
} from "./global/store.ts";
export { openGlobalStore, type GlobalStoreOptions } from "./global/sqlite/store.ts";
export {
  openPostgresDocuments,
  type PostgresDocumentsOptions,
} from "./global/postgres/documents.ts";
export { openPostgresStore, type PostgresStoreOptions } from "./global/postgres/store.ts";
export { walkGlobalStore, type GlobalWalk } from "./global/sqlite/walk.ts";
export { migrateDocuments } from "./global/postgres/migrate-documents.ts";
export {
  migrateStreams,
  type MigrationProgress,
  type MigrationResult,
} from "./global/postgres/migrate.ts";
export {
  connectGlobalStore,
  serveGlobalStore,
  type GlobalEvents,
  type GlobalMethods,
} from "./global/thread.ts";
export type {
  FeedStates,
  FeedWish,
  FillAnswer,
  GlobalCollectionStatus,
  GlobalDocument,
  GlobalDocumentStore,
  GlobalListPage,
  GlobalListQuery,
  Publication,
  PublishedAnswer,
  PullQuery,
} from "./global/documents.ts";
export { openGlobalDocuments, type GlobalDocumentsOptions } from "./global/sqlite/documents.ts";
export {
  connectGlobalDocuments,
  serveGlobalDocuments,
  type GlobalDocumentEvents,
  type GlobalDocumentMethods,
} from "./global/documents-thread.ts";
export {
  createDocumentWrites,
  type DocumentOutcome,
  type DocumentWrites,
} from "./durability/document-writes.ts";
export { createGlobalDocumentRoutes } from "./routes/global-documents.ts";
export { createGlobalQueryRoutes } from "./routes/global-queries.ts";
export type { GroupLedger, StrongCaller, StrongLedger } from "./ports.ts";
export { createStrongDocuments, type StrongDocuments } from "./strong/documents.ts";
export { createStrongQueries, type StrongQueries } from "./strong/queries.ts";
export { receiptProblemOf as strongReceiptProblemOf } from "./strong/once.ts";
export { problemOf as strongProblemOf } from "./strong/stored.ts";
export {
  createStrongDocumentRoutes,
  type StrongDocumentRoutes,
} from "./routes/strong-documents.ts";
export { createDocumentRoutes, type DocumentRoutesDeps } from "./routes/documents.ts";
export {
  createGlobalQueries,
  createQueries,
  type GlobalQueries,
  type Queries,
} from "./queries/thread.ts";
export { createLiveQueries, type LiveOptions, type LiveQueries } from "./queries/live-queries.ts";
export type { LiveReader } from "./queries/subscription.ts";
export type { SqlDeclared } from "./queries/sql/request.ts";
export { createSql, type Sql } from "./queries/sql/sql.ts";
export type { QueryFiles } from "./queries/engine.ts";
export { hubName, type AuditDeps, type AuditPartner } from "./audit/audit.ts";
export { connectAudit, serveAudit } from "./audit/link.ts";
export type { AuditName, AuditSide } from "./audit/sides.ts";
export { createAudits, type Audits } from "./audit/thread.ts";
export { createAuditRoutes } from "./routes/audit.ts";
export { createQueryRoutes, type QueryRoutesDeps } from "./routes/queries.ts";
export type {
  AckAnswer,
  ConsumerGroups,
  Delivery,
  GroupId,
  GroupStart,
  GroupStatus,
  TakeOptions,
} from "./streams/groups/groups.ts";
export {
  createCellGroups,
  type CellGroups,
  type CellGroupStatus,
} from "./streams/cell-groups/cell-groups.ts";
export { countCellGroups } from "./streams/cell-groups/metrics.ts";
export { createSqlRoutes } from "./routes/sql.ts";
export { createGroupRoutes } from "./routes/groups.ts";
export { createGlobalRoutes, createStreamRoutes } from "./routes/routes.ts";
