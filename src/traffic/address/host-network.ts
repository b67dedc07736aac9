/**
 * Addresses of this machine's interfaces, by ip(8) and arping(8). An address is given for a few
 * seconds at a time: the kernel takes it away by itself when nobody extends it, whatever became of the
 * agent and the keeper (docs/decisions/0010).
 */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { promisify } from "node:util";
import { explain, SkerryError, systemCode } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { parseInterfaces, type Interface, type Place } from "./place.ts";

const run = promisify(execFile);
const commandTimeoutMs = 3000;

export interface HostNetwork {
  /** Why this process may not give addresses, in words; undefined when it may. */
  whyNot(): Promise<string | undefined>;
  /** Throws `command-failed`. */
  interfaces(): Promise<readonly Interface[]>;
  /** Gives it, or extends it. Throws `command-failed`. */
  give(place: Place, forMs: number): Promise<void>;
  /** Idempotent. Throws `command-failed` when it is still there. */
  take(place: Pick<Place, "address" | "prefix" | "interface">): Promise<void>;
  /** Tells all neighbours whose it is. Throws `command-failed`. */
  announce(places: readonly Place[]): Promise<void>;
  /** Hardware addresses of others that answer for it; IPv4 only, and where arping is installed. */
  others(place: Place): Promise<readonly string[]>;
}

export function createHostNetwork({ log }: { log: Log }): HostNetwork {
  let hasArping: Promise<boolean> | undefined;
  let hasIp = false;
  /** iputils': others of the same name take other options. */
  const arping = () =>
    (hasArping ??= run("arping", ["-V"], { timeout: commandTimeoutMs }).then(
      ({ stdout }) => stdout.includes("iputils"),
      () => false,
    ));

  return {
    async whyNot() {
      if (!mayConfigureNetworks())
        return "its agent may not configure network interfaces: run it as root, or with CAP_NET_ADMIN and CAP_NET_RAW";
      if (hasIp) return undefined;
      try {
        await ip("-V");
        hasIp = true;
        // Asked now, not when neighbours wait to be told.
        await arping();
        return undefined;
      } catch (error) {
        return systemCode(error) === "ENOENT"
          ? "it has no command ip: apt-get install iproute2"
          : explain(error);
      }
    },
    interfaces: async () => parseInterfaces(await ip("-json", "address", "show")),
    async give({ address, prefix, interface: name }, forMs) {
      const seconds = String(Math.max(1, Math.ceil(forMs / 1000)));
      await ip(
        ...["address", "replace", `${address}/${prefix}`, "dev", name],
        ...["valid_lft", seconds, "preferred_lft", seconds],
        // Asking the network first whether it is free takes seconds; the leader has decided.
        ...(isIPv4(address) ? [] : ["nodad"]),
      );
    },
    async take({ address, prefix, interface: name }) {
      try {
        await ip("address", "del", `${address}/${prefix}`, "dev", name);
      } catch (error) {
        const there = parseInterfaces(await ip("-json", "address", "show"));
        if (there.some(({ addresses }) => addresses.some((own) => own.address === address)))
          throw error;
      }
    },
    async announce(places) {
      const outside = places.filter(({ loopback }) => !loopback);
      const byArping = (await arping()) ? outside.filter(({ address }) => isIPv4(address)) : [];
      // As a question and as an answer: some neighbours heed only one of them.
      const packets = byArping.flatMap(({ address, interface: name }) =>
        ["-U", "-A"].map((form) => ["-q", "-c", "1", form, "-I", name, address]),
      );
      await Promise.all(packets.map((packet) => command("arping", packet)));
      const rest = outside.filter((place) => !byArping.includes(place));
      for (const name of new Set(rest.map((place) => place.interface)))
        await announceByKernel(name, rest.find((place) => place.interface === name)?.mac ?? "");
    },
    async others({ address, interface: name, loopback, mac }) {
      if (loopback || !isIPv4(address) || !(await arping())) return [];
      // Ends with 1 when somebody answered. The question comes from nobody's address (RFC 5227).
      const said = await run("arping", ["-D", "-c", "1", "-w", "1", "-I", name, address], {
        timeout: commandTimeoutMs,
      }).catch((error: unknown) => error as { stdout?: string });
      const macs = [...(said.stdout ?? "").matchAll(/\[([0-9A-Fa-f:]{17})\]/g)].map(
        ([, found = ""]) => found.toLowerCase(),
      );
      return [...new Set(macs)].filter((found) => found !== mac.toLowerCase());
    },
  };

  /**
   * The kernel announces every address of an interface whose hardware address is set, to the same as
   * well, where it is asked to (`arp_notify`, `ndisc_notify`): Node has no raw sockets, and no common
   * tool sends neighbour advertisements (RFC 4861, 7.2.6).
   */
  async function announceByKernel(name: string, mac: string): Promise<void> {
    for (const [family, key] of [
      ["ipv4", "arp_notify"],
      ["ipv6", "ndisc_notify"],
    ] as const) {
      const path = `/proc/sys/net/${family}/conf/${name}/${key}`;
      try {
        if (readFileSync(path, "utf8").trim() === "0") writeFileSync(path, "1");
      } catch (error) {
        // Without this family there is nothing to announce in it.
        log.debug("the kernel announces nothing of this family", { path, error });
      }
    }
    await ip("link", "set", "dev", name, "address", mac);
  }
}

async function ip(...args: string[]): Promise<string> {
  return await command("ip", args);
}

async function command(file: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(file, args, { timeout: commandTimeoutMs })).stdout;
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") throw cause;
    const said = String((cause as { stderr?: unknown }).stderr ?? "").trim();
    throw new SkerryError({
      code: "command-failed",
      message: `${file} ${args.join(" ")}: ${said || explain(cause)}`,
      retryable: true,
      cause,
    });
  }
}

/** capabilities(7): bit 12 is CAP_NET_ADMIN. */
const netAdminBit = 12n;

function mayConfigureNetworks(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return ((BigInt(`0x${line?.[1] ?? "0"}`) >> netAdminBit) & 1n) === 1n;
}
