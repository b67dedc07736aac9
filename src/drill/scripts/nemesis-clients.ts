/** The nemesis' clients: one on each node, that dies with its machine and begins again with it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { entryUrl } from "../../runtime/child/index.ts";
import { parseHistory, readHistories, type Histories } from "../checkers/history.ts";
import type { CoordinationLoadConfig, CoordinationLoadResult } from "../load/coordination.ts";
import type { MachineName, Network } from "../site/network.ts";
import type { Site } from "../site/site.ts";
import { startWorker, type Running } from "../site/worker.ts";

export type ClientOptions = Pick<
  CoordinationLoadConfig,
  "seed" | "registers" | "locks" | "pauseMs" | "createEveryMs" | "timeoutMs" | "sessionTtlMs"
>;

export type Clients = {
  start(node: MachineName): void;
  /** It was killed, or shall be. */
  lost(node: MachineName): void;
  /** Ends those that work; what they were asking is answered first. */
  finish(): Promise<void>;
  /** What all of them wrote, the dead ones too. */
  histories(): Histories;
};

const historyOf = (dir: string, client: number) => join(dir, `client-${client}.history.jsonl`);

export function createClients(
  options: ClientOptions,
  deps: { readonly dir: string; readonly network: Network; readonly site: Pick<Site, "nodes"> },
): Clients {
  const { dir, network, site } = deps;
  const working = new Map<MachineName, Running<CoordinationLoadResult>>();
  let started = 0;
  return {
    start(name) {
      const node = site.nodes.find((one) => one.node === name);
      if (!node || working.has(name)) return;
      const client = ++started;
      const config: CoordinationLoadConfig = {
        ...options,
        client,
        gateway: node.gateway,
        token: node.token,
        historyPath: historyOf(dir, client),
      };
      const running = startWorker<CoordinationLoadConfig, CoordinationLoadResult>(
        entryUrl(import.meta.url, "../load/coordination.entry"),
        {
          dir,
          name: `client-${client}`,
          config,
          untilFinished: true,
          on: (argv) => network.on(name, argv),
        },
      );
      working.set(name, running);
    },
    lost(name) {
      working.get(name)?.abandon();
      working.delete(name);
    },
    async finish() {
      const all = [...working.values()];
      working.clear();
      await Promise.all(all.map((running) => running.finish()));
    },
    histories() {
      const clients = Array.from({ length: started }, (_, index) => index + 1);
      return readHistories(
        clients
          // One that was killed at once has written nothing.
          .filter((client) => existsSync(historyOf(dir, client)))
          .map((client) => ({
            client,
            lines: parseHistory(readFileSync(historyOf(dir, client), "utf8")),
          })),
      );
    },
  };
}
