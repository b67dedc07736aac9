/** The way of documents as an agent has it: a real storage thread, and the routes over HTTP. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Ground } from "../../src/agent/ground.ts";
import type { Mirrored } from "../../src/agent/mirrored.ts";
import { createHubBudget } from "../../src/data/index.ts";
import { startDocumentsPath, type DocumentsPath } from "../../src/agent/paths/documents-path.ts";
import type { StorageData, StorageThread } from "../../src/agent/storage.ts";
import { collectionKind, configMapKind, nodeKind } from "../../src/api/index.ts";
import { createDocuments, type DocumentClient } from "../../src/client/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createLifecycle, type Lifecycle } from "../../src/runtime/lifecycle/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { virtualRouter, type VirtualRouter } from "../../src/drill/simulated/convergence/links.ts";

export type DocumentsNode = {
  readonly name: string;
  readonly lifecycle: Lifecycle;
  readonly router: VirtualRouter;
  readonly path: DocumentsPath;
  readonly client: DocumentClient;
  /** What `/metrics` would answer. */
  metrics(): Promise<string>;
};

/** As far as this path looks at the mirror: nodes, collections, and the cell's hub; `tell` after a change. */
export function mirroring(
  nodes: readonly string[],
  collections: () => readonly object[],
  hub?: string,
): Mirrored & { tell(): void } {
  const listeners: (() => void)[] = [];
  return {
    follow(kind, listener) {
      const tell = () => {
        if (kind.kind === nodeKind.kind)
          listener(nodes.map((name) => ({ metadata: { name } })) as never);
        if (kind.kind === collectionKind.kind) listener(collections() as never);
        if (kind.kind === configMapKind.kind && hub !== undefined)
          listener([{ data: { hub } }] as never);
      };
      listeners.push(tell);
      setImmediate(tell);
    },
    tell() {
      for (const listener of listeners) listener();
    },
  };
}

export async function startDocumentsNode(options: {
  folder: string;
  name: string;
  trustDomain: string;
  mirrored: Mirrored;
  hub?: string;
}): Promise<DocumentsNode> {
  const { name, trustDomain, mirrored, hub } = options;
  const dataDir = join(options.folder, name);
  mkdirSync(dataDir, { recursive: true });
  const lifecycle = createLifecycle({ clock: systemClock, log: silentLog });
  const storage: StorageThread = await lifecycle.start(
    "storage",
    () =>
      startThread(new URL("../../src/agent/storage.entry.ts", import.meta.url), {
        name: "storage",
        data: {
          dataDir,
          node: name,
          holdsLedger: false,
          logLevel: "warn",
          logPath: join(dataDir, "agent.log"),
        } satisfies StorageData,
      }),
    (part) => part.terminate(),
  );
  const router = virtualRouter();
  const metrics = createMetrics();
  const ground = {
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    metrics,
    lifecycle,
    storage,
    router,
    record: { node: name, ...(hub === undefined ? {} : { hub }) },
  } as unknown as Ground;
  const keeper = { read: async () => undefined, write: async () => undefined };
  const budget = createHubBudget({ clock: systemClock, log: silentLog, keeper }, {});
  const path = await startDocumentsPath(ground, { mirrored, trustDomain, budget });
  const app = createHttpApp();
  path.routes()(app);
  const url = await lifecycle.start(
    "http",
    () => app.listen({ host: "127.0.0.1", port: 0 }),
    () => app.close(),
  );
  return {
    name,
    lifecycle,
    router,
    path,
    client: createDocuments({ url }),
    metrics: () => metrics.render(),
  };
}
