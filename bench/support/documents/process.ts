/** A process that holds a store, driven from the bench. */
import { join } from "node:path";
import { startCommands, type CommandProcess } from "../commands.ts";
import type { Commands } from "./protocol.ts";

export type StoreProcess = CommandProcess<Commands>;

export const startStore = (file: string): StoreProcess =>
  startCommands<Commands>(join(import.meta.dirname, file), [
    ...(["open", "writeMany", "writeOne", "read", "replicate", "count", "close"] as const),
  ]);
