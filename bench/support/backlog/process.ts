/** The process that plays the nodes of a cell with a backlog, driven from the bench. */
import { join } from "node:path";
import { startCommands, type CommandProcess } from "../commands.ts";
import type { Commands } from "./protocol.ts";

export type NodesProcess = CommandProcess<Commands>;

export const startNodes = (): NodesProcess =>
  startCommands<Commands>(join(import.meta.dirname, "nodes.entry.ts"), ["pack", "send"]);
