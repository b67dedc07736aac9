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
