export { createMirror, type Mirror, type MirrorDeps, type MirrorScope } from "./mirror/index.ts";
export {
  connectMirrorStore,
  openMirrorStore,
  serveMirrorStore,
  type MirrorBatch,
  type MirroredKey,
  type MirroredObject,
  type MirrorStore,
  type MirrorStoreFile,
  type MirrorStoreMethods,
  type MirrorThread,
} from "./mirror-store/index.ts";
export {
  createLedgerResources,
  ensureNamespaces,
  type LedgerResources,
  type LedgerResourcesDeps,
  type WriteFence,
} from "./ledger/index.ts";
export {
  createRemoteResources,
  type RemoteResources,
  type RemoteResourcesOptions,
} from "./remote/index.ts";
export type { JudgeServer, RemoteCredentials, RemoteServer } from "./remote/connections.ts";
export type { ServerSilence } from "./remote/requests.ts";
export type {
  DeleteOptions,
  ListOptions,
  ListResult,
  Patch,
  Resources,
  Subresource,
  WatchEvent,
  WriteOptions,
  WriteRefusal,
  WriteResult,
} from "./resources.ts";
