/**
 * The machines of a site, and what can befall one: its cable pulled out, killed whole, frozen whole,
 * started again. `hub` is a machine as the nodes are.
 */
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { skerryJson } from "./command.ts";
import type { Links, MachineName, Network } from "./network.ts";
import { freezeAll, killAll, processesOfFolder, signalAll } from "./processes.ts";

export type Environment = Readonly<Record<string, string>>;

export type Machines = {
  hostOf(machine: MachineName): string;
  dataDirOf(machine: MachineName): string;
  /** `skerry ARGS --json` on that machine. Throws `drill-step-failed` with what it said. */
  skerry<T>(machine: MachineName, args: readonly string[], signal?: AbortSignal): Promise<T>;
  /** Keeper, agent or hub, every pod and its shim, and whatever these started. */
  processesOf(machine: MachineName): readonly number[];
  /** Real silence: nothing is reset or refused. Throws `drill-step-failed` where `canCut` is false. */
  readonly canCut: boolean;
  cutLink(machine: MachineName): Promise<void>;
  healLink(machine: MachineName): Promise<void>;
  /** SIGKILL to every process of it; resolves when none is left. */
  killNode(machine: MachineName): Promise<void>;
  /** SIGSTOP to every process of it; the kernel still answers for its sockets. */
  freezeNode(machine: MachineName): Promise<void>;
  thawNode(machine: MachineName): void;
};

export function createMachines(options: {
  dir: string;
  network: Network;
  clock: Clock;
  /** Given to every process that is started on that machine. */
  envOf(machine: MachineName): Environment;
  /** Turns the command line that starts a machine into one that starts it otherwise. */
  startedBy?(machine: MachineName, argv: readonly string[]): readonly string[];
}): Machines {
  const { network, clock } = options;
  const dataDirOf = (machine: MachineName) => join(options.dir, machine);
  const processesOf = (machine: MachineName) =>
    network.pidsOn?.(machine) ?? processesOfFolder(dataDirOf(machine));
  const links = (): Links => {
    if (network.links) return network.links;
    throw new SkerryError({
      code: "drill-step-failed",
      message: "no link can be cut between loopback addresses",
      hint: "run the drill as root",
    });
  };
  return {
    hostOf: (machine) => network.hostOf(machine),
    dataDirOf,
    skerry: (machine, args, signal) =>
      skerryJson([...args, "--data", dataDirOf(machine)], {
        on: (argv) => {
          const starts = args[0] === "up" ? options.startedBy?.(machine, argv) : undefined;
          return network.on(machine, starts ?? argv);
        },
        env: options.envOf(machine),
        ...(signal === undefined ? {} : { signal }),
      }),
    processesOf,
    canCut: network.links !== undefined,
    cutLink: (machine) => links().cut(machine),
    healLink: (machine) => links().heal(machine),
    killNode: (machine) => killAll(() => processesOf(machine), clock),
    freezeNode: (machine) => freezeAll(() => processesOf(machine), clock),
    thawNode: (machine) => signalAll(processesOf(machine), "SIGCONT"),
  };
}
