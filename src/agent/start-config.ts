/**
 * What the agent is started with, in a file of its own (`start.json`, mode 0600) and not in its
 * arguments, which everybody on the machine can read. Tokens are struck out once they were spent.
 */
import { join } from "node:path";
import * as z from "zod";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";
import { agentConfigSchema, type AgentConfig } from "./config.ts";

const startConfigPath = (dataDir: string) => join(dataDir, "start.json");

export function writeStartConfig(config: AgentConfig): void {
  writeRecord(startConfigPath(config.dataDir), config);
}

/** Without a file: what lasts is in `node.json`. Throws `file-torn`, `invalid-config`. */
export function readStartConfig(dataDir: string): AgentConfig {
  const result = agentConfigSchema.safeParse(readRecord(startConfigPath(dataDir)) ?? { dataDir });
  // The folder may have been moved since.
  if (result.success) return { ...result.data, dataDir };
  throw new SkerryError({
    code: "invalid-config",
    message: `${startConfigPath(dataDir)}: ${z.prettifyError(result.error)}`,
    hint: "it was written by another version; start again with: skerry up",
  });
}

type Spent = readonly ("join" | "server" | "hubToken")[];

/** Strikes out what was spent, and only says so where the disk refuses: it is good for nothing any more. */
export function strikeOut({ log }: { log: Log }, dataDir: string, spent: Spent): void {
  try {
    forgetInStartConfig(dataDir, spent);
  } catch (error) {
    log.warn("a token that was spent could not be struck out", { error });
  }
}

/** Strikes out what was spent; nothing is written when nothing of it is there. */
export function forgetInStartConfig(dataDir: string, spent: Spent): void {
  const config = readStartConfig(dataDir);
  if (spent.every((field) => config[field] === undefined)) return;
  const left = Object.entries(config).filter(([field]) => !spent.some((name) => name === field));
  writeStartConfig(agentConfigSchema.parse(Object.fromEntries(left)));
}
