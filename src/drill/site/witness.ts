/**
 * A witness of the site's cell on the hub's machine, as behind a NAT: whatever would begin a connection
 * from there is dropped, and counted. See iptables(8).
 */
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { SkerryError } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import { ensureDirectory, writeFileAtomic } from "../../runtime/files/index.ts";
import { environment } from "../../runtime/process/index.ts";
import type { Network } from "./network.ts";
import { killAll, processesNaming } from "./processes.ts";

const run = promisify(execFile);
const launcher = fileURLToPath(new URL("../../../bin/skerry.mjs", import.meta.url));
const machine = "hub";
const dropped = ["OUTPUT", "-o", "eth0", "-p", "tcp", "--syn", "-j", "DROP"];

export type DrillWitness = {
  /** Lines for a person that it said so far. */
  said(): string;
  start(): void;
  /** SIGKILL to all of it; resolves when nothing is left. */
  kill(): Promise<void>;
  /** How many connections it tried to begin. */
  begun(): Promise<number>;
};

/** Throws `tool-missing` where there is no iptables. */
export async function placeWitness(
  { clock }: { clock: Clock },
  options: { network: Network; dir: string; bundle: object },
): Promise<DrillWitness> {
  const { network } = options;
  const folder = join(options.dir, "witness");
  const bundlePath = join(options.dir, "w1.witness");
  const on = (argv: readonly string[]) => {
    const [file = "", ...args] = network.on(machine, argv);
    return { file, args };
  };
  const iptables = async (...args: string[]) => {
    const { file, args: all } = on(["iptables", "-w", ...args]);
    return (await run(file, all)).stdout;
  };
  try {
    await iptables("-A", ...dropped);
  } catch (cause) {
    throw new SkerryError({
      code: "tool-missing",
      message: "iptables does not work on the witness's machine",
      hint: "apt-get install iptables",
      cause,
    });
  }
  ensureDirectory(options.dir);
  writeFileAtomic(bundlePath, JSON.stringify(options.bundle));
  let said = "";
  return {
    said: () => said,
    start() {
      const command = [process.execPath, launcher, "witness", "run", bundlePath, "--data", folder];
      const { file, args } = on(command);
      const child = spawn(file, args, { stdio: ["ignore", "ignore", "pipe"], env: environment });
      child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    },
    kill: () => killAll(() => processesNaming(folder), clock),
    async begun() {
      const listed = await iptables("-L", "OUTPUT", "-v", "-x", "-n");
      return Number(/^\s*(\d+)\s+\d+\s+DROP/m.exec(listed)?.[1] ?? Number.NaN);
    },
  };
}
