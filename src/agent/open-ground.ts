/**
 * The first steps of a start: who this node is, by its record and by its certificates, and the two
 * threads, which cost most of a start. What comes out is the ground that every way stands on.
 */
import { isDeepStrictEqual } from "node:util";
import { readLedgerRecord } from "../ledger/servers/index.ts";
import { entryUrl } from "../runtime/child/index.ts";
import { systemClock as clock, systemRandom as random } from "../runtime/clock/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { createLifecycle } from "../runtime/lifecycle/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { createMetrics } from "../runtime/metrics/index.ts";
import { startThread } from "../runtime/thread/index.ts";
import { createRouter } from "../transport/index.ts";
import type { ProxyThread } from "../traffic/thread/index.ts";
import { readNodeRecord, resolveNodeRecord, writeNodeRecord, type AgentConfig } from "./config.ts";
import { finishFarewell, noteLedger, standDown } from "./server-role.ts";
import type { Ground } from "./ground.ts";
import { agentLogPath } from "./data-folder.ts";
import { openIdentity, type IdentityPath } from "./paths/identity-path.ts";
import { startProxy, type Proxy } from "./paths/traffic-path.ts";
import { strikeOut } from "./start-config.ts";
import type { StorageData, StorageEvents, StorageMethods } from "./storage.ts";
import { startTraces } from "./traces.ts";

export type Opened = {
  readonly ground: Ground;
  readonly identity: IdentityPath;
  readonly proxy: Proxy;
};

/**
 * `meanwhile` runs while the storage thread starts, on cores that this one leaves idle. Throws what it throws,
 * what joining a cell throws, and what a thread throws that cannot start.
 */
export async function openGround({
  config,
  version,
  proxyThread,
  meanwhile,
}: {
  config: AgentConfig;
  version: string;
  proxyThread: Promise<ProxyThread>;
  meanwhile: () => Promise<unknown>;
}): Promise<Opened> {
  const { dataDir } = config;
  ensureDirectory(dataDir);
  const kept = readNodeRecord(dataDir);
  const told = resolveNodeRecord(config, kept);
  const resolved = standDown(dataDir, finishFarewell(dataDir, told));
  const { cell, node } = resolved;
  const logLevel = config.logLevel ?? "info";
  const logPath = agentLogPath(dataDir);
  const log = createLog({ level: logLevel, path: logPath, fields: { agent: node } });
  if (told.hadLedger && !resolved.hadLedger)
    log.error(
      "this server's ledger is gone from its disk: the node goes on as a worker; where other servers live: skerry server replace; was it the only one: skerry down, then skerry restore latest",
      { node, dataDir },
    );
  const lifecycle = createLifecycle({ clock, log });
  const metrics = createMetrics({ cell, node });
  const tracer = await lifecycle.start(
    "traces",
    () => startTraces({ log }, { config, node, cell, version }),
    (part) => part.stop(),
  );

  const identity = await openIdentity({ clock, random, log }, config, resolved);
  const { time, serverApi } = identity;
  await lifecycle.start(
    "cell time",
    () => time,
    (part) => part.close(),
  );
  const opened = { ...resolved, ...(serverApi === undefined ? {} : { serverApi }) };
  // A start changes nothing by itself, and so needs no room on a full disk.
  if (!isDeepStrictEqual(opened, kept)) writeNodeRecord(dataDir, opened);
  // Without a token `server` says where another node is now: that is good until one was found there.
  strikeOut({ log }, dataDir, config.join === undefined ? ["join"] : ["join", "server"]);

  const proxy = await startProxy(
    { clock, random, log, metrics, lifecycle, record: opened, dataDir },
    identity,
    proxyThread,
  );
  const [storage] = await Promise.all([
    lifecycle.start(
      "storage",
      () =>
        startThread<StorageMethods, StorageEvents>(entryUrl(import.meta.url, "./storage.entry"), {
          name: "storage",
          data: {
            dataDir,
            node,
            holdsLedger: opened.role === "server" && !readLedgerRecord(dataDir),
            logLevel,
            logPath,
          } satisfies StorageData,
        }),
      (part) => part.terminate(),
    ),
    meanwhile(),
  ]);
  const ground: Ground = {
    clock,
    random,
    log,
    metrics,
    tracer,
    lifecycle,
    dataDir,
    version,
    logLevel,
    record: noteLedger(dataDir, opened),
    ...(kept === undefined ? {} : { formerHost: kept.host }),
    storage,
    router: createRouter(),
    nowMs: () => time.nowMs(),
  };
  return { ground, identity, proxy };
}
