/**
 * One file a command; each registers itself on the program. Only the one that was asked for is loaded:
 * to load all of them takes longer than most commands do.
 */
import type { Command } from "commander";
import type { Context } from "../context.ts";

type Register = (program: Command, context: Context) => void;

/** By name, in the order of the help. */
const commands: Readonly<Record<string, () => Promise<Register>>> = {
  up: async () => (await import("./up.ts")).registerUp,
  down: async () => (await import("./down.ts")).registerDown,
  hub: async () => (await import("./hub.ts")).registerHub,
  demo: async () => (await import("./demo.ts")).registerDemo,
  status: async () => (await import("./status.ts")).registerStatus,
  server: async () => (await import("./server.ts")).registerServer,
  witness: async () => (await import("./witness.ts")).registerWitness,
  token: async () => (await import("./token.ts")).registerToken,
  kubeconfig: async () => (await import("./kubeconfig.ts")).registerKubeconfig,
  data: async () => (await import("./data.ts")).registerData,
  backup: async () => (await import("./backup.ts")).registerBackup,
  restore: async () => (await import("./restore.ts")).registerRestore,
  recover: async () => (await import("./recover.ts")).registerRecover,
  drill: async () => (await import("./drill.ts")).registerDrill,
  config: async () => (await import("./config.ts")).registerConfig,
  doctor: async () => (await import("./doctor.ts")).registerDoctor,
};

/** Puts the command of that name on the program; every one when there is none: for help and suggestions. */
export async function registerCommands(
  program: Command,
  context: Context,
  name?: string,
): Promise<void> {
  const named = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined;
  for (const load of named ? [named] : Object.values(commands)) (await load())(program, context);
}
