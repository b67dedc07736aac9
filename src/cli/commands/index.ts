/** One file a command; each registers itself on the program. */
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { registerBackup } from "./backup.ts";
import { registerConfig } from "./config.ts";
import { registerData } from "./data.ts";
import { registerDemo } from "./demo.ts";
import { registerDoctor } from "./doctor.ts";
import { registerDown } from "./down.ts";
import { registerDrill } from "./drill.ts";
import { registerHub } from "./hub.ts";
import { registerKubeconfig } from "./kubeconfig.ts";
import { registerRecover } from "./recover.ts";
import { registerRestore } from "./restore.ts";
import { registerServer } from "./server.ts";
import { registerStatus } from "./status.ts";
import { registerToken } from "./token.ts";
import { registerUp } from "./up.ts";
import { registerWitness } from "./witness.ts";

export const commands: readonly ((program: Command, context: Context) => void)[] = [
  registerUp,
  registerDown,
  registerHub,
  registerDemo,
  registerStatus,
  registerServer,
  registerWitness,
  registerToken,
  registerKubeconfig,
  registerData,
  registerBackup,
  registerRestore,
  registerRecover,
  registerDrill,
  registerConfig,
  registerDoctor,
];
