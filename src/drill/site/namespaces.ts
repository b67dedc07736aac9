/**
 * A network namespace for each machine of a site and one for the switch between them: a bridge with
 * a port (one end of a veth pair) for each. Taking a port down is a cable pulled out. Nothing of it
 * reaches the host's own network. See ip-netns(8), veth(4), network_namespaces(7).
 */
import { execFile } from "node:child_process";
import { readdirSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Clock } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import { identifyProcess, ownProcess } from "../../runtime/process/index.ts";
import { signalAll } from "./processes.ts";
import { lastOctet, type MachineName, type Network, type Unavailable } from "./network.ts";

const run = promisify(execFile);

const namespacesFolder = "/run/netns";
/** TEST-NET-2 of RFC 5737: nobody's addresses. */
const hostOf = (machine: MachineName) => `198.51.100.${lastOctet(machine)}`;
const prefixBits = 24;
const theSwitch = "switch";
const commandTimeoutMs = 10_000;
const emptyTimeoutMs = 10_000;

const nameOf = (site: string, machine: MachineName) => `${site}.${machine}`;
const pathOf = (site: string, machine: MachineName) =>
  join(namespacesFolder, nameOf(site, machine));
/** Names of interfaces end at 15 bytes; the switch is this site's alone. */
const portOf = (machine: MachineName) => `to-${machine}`;

async function ip(...args: string[]): Promise<void> {
  await run("ip", args, { timeout: commandTimeoutMs });
}

/** Carries who made it, so that the next drill can tell what a dead one left. */
function ownName(): string {
  const { pid, startTicks } = ownProcess();
  return `skerry-drill.${pid}.${startTicks}`;
}

/** The site's name, or why there is none. What was made before a failure is removed again. */
export async function makeNamespaces(
  machines: readonly MachineName[],
  deps: { clock: Clock },
): Promise<{ readonly state: "made"; readonly site: string } | Unavailable> {
  const site = ownName();
  try {
    await ip("netns", "add", nameOf(site, theSwitch));
    const onSwitch = (...args: string[]) => ip("-n", nameOf(site, theSwitch), ...args);
    await onSwitch("link", "add", "bridge", "type", "bridge");
    await onSwitch("link", "set", "bridge", "up");
    for (const machine of machines) {
      const name = nameOf(site, machine);
      const port = portOf(machine);
      await ip("netns", "add", name);
      await onSwitch("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name);
      await onSwitch("link", "set", port, "master", "bridge", "up");
      await ip("-n", name, "addr", "add", `${hostOf(machine)}/${prefixBits}`, "dev", "eth0");
      await ip("-n", name, "link", "set", "lo", "up");
      await ip("-n", name, "link", "set", "eth0", "up");
    }
    // Tries the tools with which everything will be started.
    const [file = "", ...args] = enter(site, "observer", [...withOwnMounts, "true"]);
    await run(file, args, { timeout: commandTimeoutMs });
    return { state: "made", site };
  } catch (error) {
    await removeNamespaces(site, deps);
    return {
      state: "unavailable",
      reason: new SkerryError({
        code: "tool-missing",
        message: `no network namespaces can be made here: ${explain(error)}`,
        hint: "run it as root on Linux, with ip, nsenter and unshare: apt-get install iproute2 util-linux",
        cause: error,
      }),
    };
  }
}

/** What is mounted under it is seen by its own processes only, and is gone with the last of them. */
export const withOwnMounts: readonly string[] = [
  "unshare",
  "--mount",
  "--propagation",
  "private",
  "--",
];

/** nsenter(1) changes the network only; `ip netns exec` would hide the cgroups as well. */
function enter(site: string, machine: MachineName, argv: readonly string[]): string[] {
  return ["nsenter", `--net=${pathOf(site, machine)}`, "--", ...argv];
}

/** The network of a site that `makeNamespaces` made. */
export function openNamespaces(site: string): Network {
  const onSwitch = (...args: string[]) => ip("-n", nameOf(site, theSwitch), ...args);
  return {
    hostOf,
    on: (machine, argv) => enter(site, machine, argv),
    namespaceOf: (machine) => pathOf(site, machine),
    pidsOn: (machine) => pidsIn(pathOf(site, machine)),
    links: {
      cut: (machine) => onSwitch("link", "set", portOf(machine), "down"),
      heal: (machine) => onSwitch("link", "set", portOf(machine), "up"),
    },
  };
}

/** By what the kernel says, so that nothing hides by leaving its session or its parent. */
function pidsIn(namespacePath: string): number[] {
  const { ino } = statSync(namespacePath);
  return readdirSync("/proc").flatMap((entry) => {
    const pid = Number(entry);
    return Number.isInteger(pid) && networkOf(pid) === `net:[${ino}]` ? [pid] : [];
  });
}

function networkOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    // It ended meanwhile, and with it its network.
    return undefined;
  }
}

/** Ends whatever still runs there, then removes them. */
export async function removeNamespaces(site: string, { clock }: { clock: Clock }): Promise<void> {
  const names = namespaceNames().filter((name) => name.startsWith(`${site}.`));
  const paths = names.map((name) => join(namespacesFolder, name));
  const giveUpMs = clock.monotonicMs() + emptyTimeoutMs;
  for (;;) {
    const left = paths.flatMap(pidsIn).filter((pid) => pid !== process.pid);
    if (left.length === 0 || clock.monotonicMs() > giveUpMs) break;
    signalAll(left, "SIGKILL");
    await clock.sleep(20);
  }
  for (const name of names) await ip("netns", "del", name);
}

/** What drills left that were killed before they could clean up. */
export async function removeStaleNamespaces(deps: { clock: Clock }): Promise<void> {
  const sites = new Set(
    namespaceNames().flatMap((name) => /^skerry-drill\.\d+\.\d+(?=\.)/.exec(name)?.[0] ?? []),
  );
  for (const site of sites) {
    const [, pid, startTicks] = site.split(".");
    if (identifyProcess(Number(pid))?.startTicks === Number(startTicks)) continue;
    await removeNamespaces(site, deps);
  }
}

function namespaceNames(): string[] {
  try {
    return readdirSync(namespacesFolder);
  } catch {
    // The first `ip netns add` makes it.
    return [];
  }
}
