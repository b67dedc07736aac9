/** This node's etcd as a process of the keeper: started, adopted again after a restart of the agent, started anew when it ends. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { KeeperProcesses } from "../keeper/index.ts";
import {
  defaultTimers,
  detectEtcd,
  etcdCommand,
  versionText,
  type EtcdMemberOptions,
  type EtcdTimers,
} from "../ledger/index.ts";
import { createBackoff } from "../lib/backoff.ts";
import { every, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { uuid, type Random } from "../lib/random.ts";
import { ledgerCommonName } from "../identity/index.ts";

export type EtcdWanted = Omit<EtcdMemberOptions, "timers" | "peerCommonName"> & {
  readonly timers?: EtcdTimers;
};

export interface EtcdRunner {
  /** Throws `etcd-missing`, `etcd-unsupported`. */
  start(wanted: EtcdWanted): Promise<void>;
  /** Stops and forgets every process of the ledger on this node. */
  remove(): Promise<void>;
  /** Looks after it no more; it runs on. */
  close(): void;
}

const label = "skerry.dev/system";
const graceMs = 10_000;
const lookEveryMs = 500;

/** Where the binary is; undefined when there is none. */
function binaryOf(searchPath: string): string | undefined {
  return [...searchPath.split(delimiter), "/usr/sbin", "/sbin"]
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, "etcd"))
    .find((path) => existsSync(path));
}

/** Its version; undefined when there is none that can be used. */
export async function findEtcd(searchPath: string): Promise<string | undefined> {
  const binary = binaryOf(searchPath);
  if (binary === undefined) return undefined;
  try {
    return versionText(await detectEtcd(binary));
  } catch (error) {
    if (error instanceof SkerryError) return undefined;
    throw error;
  }
}

export function createEtcdRunner(
  deps: { clock: Clock; random: Random; log: Log; host: KeeperProcesses },
  searchPath: string,
): EtcdRunner {
  const { clock, random, host, log } = deps;
  const backoff = createBackoff(deps, { initialMs: 200, maxMs: 10_000 });
  let wanted: (() => Promise<void>) | undefined;
  let notBeforeMs = 0;
  const own = async () => (await host.list()).filter(({ labels }) => labels[label] === "ledger");
  const running = (state: string) => state === "running" || state === "starting";

  const launch = async (options: EtcdWanted) => {
    const binary = binaryOf(searchPath) ?? "etcd";
    const version = await detectEtcd(binary);
    const { args, env } = etcdCommand(
      { ...options, timers: options.timers ?? defaultTimers, peerCommonName: ledgerCommonName },
      version,
    );
    await host.start({
      id: `ledger-${uuid(random).slice(0, 13)}`,
      argv: [binary, ...args],
      env: { PATH: searchPath, ...env },
      cwd: "/",
      limits: {},
      labels: { [label]: "ledger" },
      graceMs,
    });
  };

  const tend = async () => {
    if (!wanted || clock.monotonicMs() < notBeforeMs) return;
    const all = await own();
    if (all.some(({ current }) => running(current.state))) return;
    for (const { id, current } of all) {
      log.warn("etcd ended", { id, current });
      await host.remove(id);
    }
    notBeforeMs = clock.monotonicMs() + backoff.nextMs();
    await wanted();
  };
  const timer = every(clock, lookEveryMs, tend, (error) =>
    log.warn("etcd cannot be started now", { error }),
  );

  return {
    async start(options) {
      wanted = () => launch(options);
      const all = await own();
      if (all.some(({ current }) => running(current.state))) return;
      for (const { id } of all) await host.remove(id);
      await launch(options);
    },
    async remove() {
      wanted = undefined;
      for (const { id, current } of await own()) {
        if (current.state !== "exited") await host.stop(id, { graceMs });
        await host.remove(id);
      }
    },
    close: () => timer.cancel(),
  };
}
