/** The process that plays the cells, driven from the bench. */
import { join } from "node:path";
import { startCommands, type CommandProcess } from "../commands.ts";
import type { Commands } from "./protocol.ts";

export type CellsProcess = CommandProcess<Commands>;

export const startCells = (): CellsProcess =>
  startCommands<Commands>(join(import.meta.dirname, "cells.entry.ts"), [
    ...(["bare", "connect", "again"] as const),
  ]);
