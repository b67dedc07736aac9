/**
 * What befalls the packets from one machine to another, in that direction only: dropped, lost by
 * chance, or late. Rules of the receiving machine's own firewall, by the sender's address, inside its
 * network namespace; nothing reaches the host's own. For latency its packets go through a queue that
 * `delay-wire.c` empties, since not every kernel has netem. See iptables-extensions(8), `statistic`
 * and `NFQUEUE`.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { promisify } from "node:util";
import { explain, SkerryError } from "../../lib/errors.ts";
import { exited } from "../../runtime/child/index.ts";
import { lastOctet, type MachineName, type Network } from "../site/network.ts";
import { compile } from "./compile.ts";

const run = promisify(execFile);
const commandTimeoutMs = 10_000;

export type WireFault =
  | { readonly state: "dropped" }
  /** `share` of the packets, by chance. */
  | { readonly state: "lossy"; readonly share: number }
  /** Every packet by `delayMs` and up to `jitterMs` more, in order. */
  | { readonly state: "slow"; readonly delayMs: number; readonly jitterMs: number };

export type Wires = {
  /** Replaces whatever befell that direction. Throws `tool-missing` or `drill-step-failed`. */
  set(direction: Direction, fault: WireFault): Promise<void>;
  heal(direction: Direction): Promise<void>;
  /** All that is still broken, in no order. */
  healAll(): Promise<void>;
};

export type Direction = { readonly from: MachineName; readonly to: MachineName };

type Broken = {
  readonly direction: Direction;
  readonly rule: readonly string[];
  readonly queue?: ChildProcess;
};

export function createWires(network: Network): Wires {
  const broken = new Map<string, Broken>();
  const nameOf = ({ from, to }: Direction) => `${from}>${to}`;

  const heal = async (direction: Direction) => {
    const found = broken.get(nameOf(direction));
    if (!found) return;
    broken.delete(nameOf(direction));
    // First the rule: what has no queue any more then passes.
    await firewall(network, direction.to, ["-D", ...found.rule]);
    found.queue?.stdin?.end();
    if (found.queue) await exited(found.queue);
  };
  return {
    async set(direction, fault) {
      await heal(direction);
      const queue =
        fault.state === "slow" ? await startQueue(network, direction, fault) : undefined;
      const rule = ["INPUT", "-s", network.hostOf(direction.from), ...verdict(direction, fault)];
      try {
        await firewall(network, direction.to, ["-A", ...rule]);
      } catch (error) {
        queue?.stdin?.end();
        throw error;
      }
      broken.set(nameOf(direction), { direction, rule, ...(queue ? { queue } : {}) });
    },
    heal,
    async healAll() {
      for (const { direction } of [...broken.values()]) await heal(direction);
    },
  };
}

function verdict(direction: Direction, fault: WireFault): readonly string[] {
  switch (fault.state) {
    case "dropped":
      return ["-j", "DROP"];
    case "lossy": {
      const probability = Math.min(1, Math.max(0, fault.share)).toFixed(4);
      return ["-m", "statistic", "--mode", "random", "--probability", probability, "-j", "DROP"];
    }
    case "slow":
      return ["-j", "NFQUEUE", "--queue-num", String(queueOf(direction)), "--queue-bypass"];
  }
}

/** A queue of the receiver's namespace for each sender. */
const queueOf = ({ from }: Direction) => lastOctet(from);

async function firewall(
  network: Network,
  machine: MachineName,
  args: readonly string[],
): Promise<void> {
  const [file = "", ...rest] = network.on(machine, ["iptables", "-w", ...args]);
  try {
    await run(file, rest, { timeout: commandTimeoutMs });
  } catch (error) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `the firewall of ${machine} did not take "${args.join(" ")}": ${explain(error)}`,
      hint: "apt-get install -y --no-install-recommends iptables",
      cause: error,
    });
  }
}

async function startQueue(
  network: Network,
  direction: Direction,
  { delayMs, jitterMs }: { delayMs: number; jitterMs: number },
): Promise<ChildProcess> {
  const namespace = network.namespaceOf?.(direction.to);
  if (namespace === undefined) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: "no link can be slowed down between loopback addresses",
      hint: "run the drill as root",
    });
  }
  const program = compile(new URL("./delay-wire.c", import.meta.url), {
    what: "a slow link",
    flags: [],
  });
  const child = spawn(program, [namespace, `${queueOf(direction)}`, `${delayMs}`, `${jitterMs}`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ready = new Promise<void>((resolve) => child.stdout.once("data", () => resolve()));
  const ended = exited(child).then(({ code }) => {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `the slow link ${direction.from} to ${direction.to} could not be made: exit code ${code}`,
    });
  });
  await Promise.race([ready, ended]);
  // Its end after this is the heal's affair.
  ended.catch(() => undefined);
  return child;
}
