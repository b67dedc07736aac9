export {
  createLedgerResources,
  ensureNamespaces,
  type LedgerResourcesDeps,
} from "./ledger/index.ts";
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
