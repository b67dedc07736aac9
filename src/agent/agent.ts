/**
 * The agent's root: constructs, connects and orders. It decides nothing; the ways through the house
 * are the files of `paths/`, in the order in which they stand on each other.
 */
import { isDeepStrictEqual } from "node:util";
import { createAppTokenVerifier, parseTokenRequest, spiffeId } from "../identity/index.ts";
import { createGateway } from "../gateway/index.ts";
import { connectKeeper } from "../keeper/index.ts";
import { readLedgerRecord } from "../ledger/index.ts";
import { whenAborted } from "../lib/abort.ts";
import { entryUrl } from "../runtime/child/index.ts";
import { systemClock as clock, systemRandom as random } from "../runtime/clock/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { createHostReader } from "../runtime/host/index.ts";
import { createLifecycle } from "../runtime/lifecycle/index.ts";
import { writeAccess, writeInfo } from "../runtime/local/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { createMetrics } from "../runtime/metrics/index.ts";
import { keepCompiled, ownProcess } from "../runtime/process/index.ts";
import { startThread } from "../runtime/thread/index.ts";
import { createRouter, type Link } from "../transport/index.ts";
import type { PodRunner } from "../workloads/index.ts";
import { readNodeRecord, resolveNodeRecord, writeNodeRecord, type AgentConfig } from "./config.ts";
import type { Ground } from "./ground.ts";
import { watchHostStrain } from "./host-strain.ts";
import { startLedgerWatch } from "./ledger-watch.ts";
import { foundCellAddress, startAddressPath } from "./paths/address-path.ts";
import { createLedgerTokenStore } from "./ledger-tokens.ts";
import { agentLogPath, type AgentInfo } from "./local.ts";
import { startBackupPath } from "./paths/backup-path.ts";
import { notReady, startApiPath, startStatePath } from "./paths/command-path.ts";
import { startCoordinationPath } from "./paths/coordination-path.ts";
import { startFailoverPath } from "./paths/failover-path.ts";
import { startHistoryPath } from "./paths/history-path.ts";
import { startHubEnrolment, startHubHeartbeat } from "./paths/hub-path.ts";
import { keepIdentityFresh, openIdentity, type IdentityPath } from "./paths/identity-path.ts";
import { finishFarewell, startLedgerPath, type LedgerPath } from "./paths/ledger-path.ts";
import { startLinkPath, type LinkPath } from "./paths/link-path.ts";
import { measureAppends, startMetricsPath } from "./paths/metrics-path.ts";
import { startSensorPath } from "./paths/sensor-path.ts";
import { startNodeReports, startStatusPath, startStreamReports } from "./paths/status-path.ts";
import { startServersPath, wishOf, type ServersPath } from "./paths/servers-path.ts";
import { startSyncPath } from "./paths/sync-path.ts";
import { startTimersPath } from "./paths/timers-path.ts";
import { feedProxy, startProxy } from "./paths/traffic-path.ts";
import { podLogsOf, startWorkloadPath } from "./paths/workload-path.ts";
import { quorumAtServer, situationOf } from "./situation.ts";
import { startTraces } from "./traces.ts";
import { forgetInStartConfig } from "./start-config.ts";
import {
  storageLost,
  type StorageData,
  type StorageEvents,
  type StorageMethods,
} from "./storage.ts";

export type AgentOptions = {
  readonly config: AgentConfig;
  readonly version: string;
  /** PATH for pods and probes. */
  readonly searchPath: string;
  readonly signal: AbortSignal;
};

/** Runs until `signal` aborts, then stops in order; pods go on. Throws what a part throws while starting. */
export async function runAgent({
  config,
  version,
  searchPath,
  signal,
}: AgentOptions): Promise<void> {
  const { dataDir } = config;
  ensureDirectory(dataDir);
  const kept = readNodeRecord(dataDir);
  const resolved = finishFarewell(dataDir, resolveNodeRecord(config, kept));
  const logLevel = config.logLevel ?? "info";
  const logPath = agentLogPath(dataDir);
  const log = createLog({ level: logLevel, path: logPath, fields: { agent: resolved.node } });
  const lifecycle = createLifecycle({ clock, log });
  const metrics = createMetrics({ cell: resolved.cell, node: resolved.node });

  const tracer = await lifecycle.start(
    "traces",
    async () =>
      await startTraces({ log }, { config, node: resolved.node, cell: resolved.cell, version }),
    (part) => part.stop(),
  );
  const nowMs = (): number => identityPath.time.nowMs();
  let ledgerPath: LedgerPath | undefined;
  let serversPath: ServersPath | undefined;
  const identityPath: IdentityPath = await openIdentity({ clock, random, log }, config, resolved, {
    tokens: () => createLedgerTokenStore({ ledger: () => ledgerPath?.ledger, nowMs }),
    onJoined: async (node, token) => {
      if (token.server) await serversPath?.wish(wishOf(node), node.id);
    },
  });
  const { identity, time, authority } = identityPath;
  const restart = Promise.withResolvers<void>();
  await lifecycle.start(
    "cell time",
    () => time,
    (part) => part.close(),
  );
  const record = {
    ...resolved,
    ...(identityPath.serverApi === undefined ? {} : { serverApi: identityPath.serverApi }),
  };
  // A start changes nothing by itself, and so needs no room on a full disk.
  if (!isDeepStrictEqual(record, kept)) writeNodeRecord(dataDir, record);
  const forget = (spent: Parameters<typeof forgetInStartConfig>[1]) => {
    try {
      forgetInStartConfig(dataDir, spent);
    } catch (error) {
      log.warn("a token that was spent could not be struck out", { error });
    }
  };
  forget(["join", "server"]);

  // The two threads cost most of a start; the ingress shall be back soonest.
  const [storage, proxy] = await Promise.all([
    lifecycle.start(
      "storage",
      () =>
        startThread<StorageMethods, StorageEvents>(entryUrl(import.meta.url, "./storage.entry"), {
          name: "storage",
          data: {
            dataDir,
            node: record.node,
            holdsLedger: record.role === "server" && !readLedgerRecord(dataDir),
            logLevel,
            logPath,
          } satisfies StorageData,
        }),
      (part) => part.terminate(),
    ),
    startProxy({ clock, random, log, metrics, lifecycle, record }, identityPath),
  ]);
  const router = createRouter();
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
    record,
    storage,
    router,
    nowMs,
  };
  const keeper = await lifecycle.start(
    "keeper",
    () => connectKeeper(dataDir, { clock, random, log }, { role: "agent", revive: true }),
    (part) => part.close(),
  );

  ledgerPath = await startLedgerPath(ground, {
    identity: identityPath,
    keeper,
    searchPath,
    restart: restart.resolve,
  });
  const state = await startStatePath(ground, identityPath, ledgerPath.ledger);
  const { mirrored } = state;
  await foundCellAddress(ground, state, config);
  feedProxy(proxy, { mirrored, isKnown: state.isKnown, record, clock, log, signal });
  const sync = await startSyncPath(ground, { mirrored, trustDomain: identity.trust.trustDomain });
  const verifier = createAppTokenVerifier({ nowMs, trust: () => identity.trust });
  const authenticateToken = async (token: string) => {
    const verdict = verifier.verify(token);
    return verdict.ok ? { id: verdict.subject.id } : undefined;
  };

  let links: LinkPath | undefined;
  let runner: PodRunner | undefined;
  const peers = () => state.servers().map(({ host, ports }) => ({ host, port: ports.peers }));
  const renewal = await lifecycle.start(
    "certificates",
    () => keepIdentityFresh({ clock, random, log }, identityPath, peers),
    (part) => part.stop(),
  );
  links = await startLinkPath(ground, {
    mirrored,
    identity: identityPath,
    listeners: {
      onPeer: (link: Link) => sync.attachPeer(link),
      onHub: (link: Link) => sync.attachHub(link),
    },
  });
  const strain = await lifecycle.start(
    "host strain",
    () =>
      watchHostStrain({ clock, log, host: createHostReader({ clock }, { dataFolder: dataDir }) }),
    (part) => part.stop(),
  );
  await startHistoryPath(ground, {
    state,
    trust: identity.trust,
    links: () => links,
    restart: restart.resolve,
  });
  const ledgerSituation = await startLedgerWatch(ground, ledgerPath);
  const timers = await startTimersPath(ground, {
    ledger: ledgerPath,
    trustDomain: identity.trust.trustDomain,
  });
  serversPath = await startServersPath(ground, {
    state,
    ledger: ledgerPath,
    links: () => links,
    trustDomain: identity.trust.trustDomain,
  });
  const { membership } = await startFailoverPath(ground, {
    state,
    identity: identityPath,
    keeper,
    peersPort: links.port,
    linkTo: links.linkTo,
    situation: situationOf({
      clock,
      record,
      state,
      links: () => links,
      strain,
      ledger: ledgerSituation,
    }),
    ledgerSituation,
  });

  const sensor = await startSensorPath(ground, {
    append: measureAppends(ground, (batch, options) => sync.durability.append(batch, options)),
    mirrored,
    identity,
    authenticateToken,
  });
  const gatewayHost = record.host;
  runner = await startWorkloadPath(ground, {
    state,
    keeper,
    identity: identityPath,
    gatewayUrl: `http://${gatewayHost}:${record.ports.gateway}`,
    searchPath,
  });
  const backup = await startBackupPath(ground, { state, links: () => links, strain });
  const status = startStatusPath(ground, {
    backup: backup.report,
    state,
    links,
    sync,
    membership,
    runner,
    keeper,
    strain,
    ledgerSituation,
  });
  startMetricsPath(ground, { report: status.report, membership, identity: identityPath });
  const coordination = await startCoordinationPath(ground, {
    state,
    links,
    trustDomain: identity.trust.trustDomain,
    authenticateToken,
  });
  const gateway = await lifecycle.start(
    "gateway",
    () =>
      createGateway(
        {
          authenticate: authenticateToken,
          routes: [sensor.routes, sync.routes, status.routes, coordination.routes],
          clock,
          log,
          metrics,
          tracer,
          notReady: () => notReady(state),
        },
        { host: gatewayHost, port: record.ports.gateway },
      ),
    (part) => part.stop(),
  );
  // Stopped before the gateway, which would wait for them.
  await lifecycle.start(
    "coordination streams",
    () => coordination,
    (part) => part.endStreams(),
  );
  const apiPath = await startApiPath(ground, {
    state,
    identity: identityPath,
    podLogs: podLogsOf(record, { runner: () => runner, links: () => links }),
    verdicts: () => membership.verdicts(),
    hasQuorum: () => quorumAtServer(ledgerSituation()) === "held",
    routes: [
      ...backup.routes,
      ...serversPath.routes,
      ...timers.routes,
      {
        prefix: "/metrics",
        allows: () => true,
        handle: async () => ({
          status: 200,
          contentType: metrics.contentType,
          body: await metrics.render(),
        }),
      },
      {
        prefix: "/skerry/v1/tokens",
        handle: async (request) => ({
          status: 201,
          contentType: "application/json",
          body: JSON.stringify(
            await identityPath.createToken(parseTokenRequest(await request.body())),
          ),
        }),
      },
    ],
  });
  const api = apiPath.address;
  await startAddressPath(ground, {
    state,
    membership,
    traffic: proxy.traffic,
    mqtt: sensor.listeners,
    api: apiPath,
    identity,
    renewal,
  });
  const apiPort = Number(api.slice(api.lastIndexOf(":") + 1));
  await startNodeReports(ground, {
    state,
    membership,
    ports: {
      api: apiPort,
      mesh: proxy.meshPort,
      peers: links.port,
      ingress: proxy.ingressPort,
    },
  });
  await startHubEnrolment(ground, {
    identity: identityPath,
    resources: state.upstream,
    hubToken: config.hubToken,
    onEnrolled: async () => {
      forget(["hubToken"]);
      await renewal.refreshTrust();
    },
  });
  await startHubHeartbeat(ground, { links, membership, report: status.report });

  if (authority) {
    await startStreamReports(ground, { state, sync });
    const admin = await authority.issueCredentials(
      spiffeId(authority.trustDomain, "user", "admin"),
    );
    writeAccess(dataDir, {
      server: `https://${api}`,
      serverName: `api.${authority.trustDomain}`,
      ...admin,
      anchorsPem: authority.trust.anchorsPem,
    });
  }
  const info: AgentInfo = {
    node: record.node,
    cell: record.cell,
    role: record.role,
    dataDir,
    version,
    agentPid: process.pid,
    process: ownProcess(),
    api,
    peers: links.address,
    gateway: gateway.url,
    ingress: `${record.host}:${proxy.ingressPort}`,
    mqtt: sensor.mqtt,
    ...(sensor.mqttPlain === undefined ? {} : { mqttPlain: sensor.mqttPlain }),
  };
  writeInfo(dataDir, "node", info);
  keepCompiled();
  log.info("agent is ready", { api: info.api, gateway: info.gateway, ingress: info.ingress });

  const lost = await Promise.race([whenAborted(signal), storageLost(storage), restart.promise]);
  log.info("agent is stopping");
  await lifecycle.stop();
  // The keeper starts it again, with a thread that works.
  if (lost) throw lost;
}
