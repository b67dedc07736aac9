/** This node's member of the ledger: where its binary is, its one supervisor, and how it is forgotten. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import {
  createEtcdSupervisor,
  defaultTimers,
  detectEtcd,
  etcdLabel,
  versionText,
  type EtcdMemberOptions,
  type EtcdProcessHost,
  type EtcdSupervisor,
  type EtcdTimers,
} from "../ledger/index.ts";
import { ledgerCommonName } from "../identity/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";

export type EtcdWanted = Omit<EtcdMemberOptions, "timers" | "peerCommonName"> & {
  readonly timers: EtcdTimers | undefined;
};

export interface EtcdRunner extends AsyncDisposable {
  /** Undefined while no member is wanted here. */
  readonly supervisor: EtcdSupervisor | undefined;
  /** Asked again at each start of the process. Throws `etcd-missing`, `etcd-unsupported`, `ledger-data-newer`. */
  start(wanted: () => EtcdWanted): Promise<void>;
  /** Stops and forgets every member of a ledger on this node. */
  remove(): Promise<void>;
}

const graceMs = 10_000;

/** Where the binary is; undefined when there is none. */
export function etcdBinary(searchPath: string): string | undefined {
  return [...searchPath.split(delimiter), "/usr/sbin", "/sbin"]
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, "etcd"))
    .find((path) => existsSync(path));
}

/** Its version; undefined when there is none that can be used. */
export async function findEtcd(searchPath: string): Promise<string | undefined> {
  const binary = etcdBinary(searchPath);
  if (binary === undefined) return undefined;
  try {
    return versionText(await detectEtcd(binary));
  } catch (error) {
    if (error instanceof SkerryError) return undefined;
    throw error;
  }
}

/** Stops and forgets every member that `host` holds. */
export async function removeMembers(
  host: Pick<EtcdProcessHost, "list" | "stop" | "remove">,
): Promise<void> {
  for (const { id, labels, current } of await host.list()) {
    if (labels[etcdLabel] === undefined) continue;
    if (current.state !== "exited") await host.stop(id, { graceMs });
    await host.remove(id);
  }
}

export function createEtcdRunner(
  deps: { clock: Clock; random: Random; log: Log; host: EtcdProcessHost },
  searchPath: string,
): EtcdRunner {
  const { host } = deps;
  let supervisor: EtcdSupervisor | undefined;
  const release = async () => {
    const last = supervisor;
    supervisor = undefined;
    await last?.[Symbol.asyncDispose]();
  };
  return {
    get supervisor() {
      return supervisor;
    },
    async start(wanted) {
      supervisor ??= createEtcdSupervisor(deps, {
        binary: etcdBinary(searchPath) ?? "etcd",
        path: searchPath,
        member: () => {
          const { timers = defaultTimers, ...rest } = wanted();
          return { ...rest, timers, peerCommonName: ledgerCommonName };
        },
      });
      await supervisor.start();
    },
    async remove() {
      await release();
      await removeMembers(host);
    },
    [Symbol.asyncDispose]: release,
  };
}
