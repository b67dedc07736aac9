/**
 * The agent's root: constructs, connects and orders. It decides nothing; the ways through the house
 * are the files of `paths/`, in the order in which they stand on each other.
 */
import { connectKeeper } from "../keeper/index.ts";
import { whenAborted } from "../lib/abort.ts";
import { writeInfo } from "../runtime/local/index.ts";
import { keepCompiled, ownProcess } from "../runtime/process/index.ts";
import type { AgentConfig } from "./config.ts";
import { startHostStrain } from "./host-strain.ts";
import { startLedgerWatch } from "./ledger-watch.ts";
import { writeAdminAccess, type AgentInfo } from "./local.ts";
import type { Opened } from "./open-ground.ts";
import { startAuditPath } from "./paths/audit-path.ts";
import { foundCellAddress, startAddressPath } from "./paths/address-path.ts";
import { startBackupPath } from "./paths/backup-path.ts";
import { startApiPath, startStatePath } from "./paths/command-path.ts";
import { startCellGroupsPath } from "./paths/cell-groups-path.ts";
import { startCoordinationPath } from "./paths/coordination-path.ts";
import { openEnrolment } from "./paths/enrolment-path.ts";
import { startFailoverPath } from "./paths/failover-path.ts";
import { startGatewayPath } from "./paths/gateway-path.ts";
import { startHistoryPath } from "./paths/history-path.ts";
import { startHubEnrolment, startHubHeartbeat } from "./paths/hub-path.ts";
import { startRenewals } from "./paths/identity-path.ts";
import { startLedgerPath } from "./paths/ledger-path.ts";
import { startLinkPath } from "./paths/link-path.ts";
import { measureAppends, startMetricsPath } from "./paths/metrics-path.ts";
import {
  startDamageEvents,
  startNodeEvents,
  startNodeReports,
  startStreamReports,
} from "./paths/report-path.ts";
import { startSensorPath } from "./paths/sensor-path.ts";
import { startServersPath, wishOf, type ServersPath } from "./paths/servers-path.ts";
import { startStrongPath } from "./paths/strong-path.ts";
import { startStatusPath } from "./paths/status-path.ts";
import { startDocumentsPath } from "./paths/documents-path.ts";
import { startQueriesPath } from "./paths/queries-path.ts";
import { startSyncPath } from "./paths/sync-path.ts";
import { startTimersPath } from "./paths/timers-path.ts";
import { feedProxy } from "./paths/traffic-path.ts";
import { startWhereaboutsPath } from "./paths/whereabouts-path.ts";
import { podLogsOf, startWorkloadPath } from "./paths/workload-path.ts";
import { correctServerRoles } from "./sole-server.ts";
import { sayingQuorumLost } from "./quorum-resources.ts";
import { quorumAtServer } from "./situation.ts";
import { strikeOut } from "./start-config.ts";
import { storageLost } from "./storage.ts";

export type AgentOptions = {
  readonly config: AgentConfig;
  /** PATH for pods and probes. */
  readonly searchPath: string;
  readonly signal: AbortSignal;
};

/** Runs until `signal` aborts, then stops in order; pods go on. Throws what a part throws while starting. */
export async function runAgent(
  { ground, identity, proxy }: Opened,
  { config, searchPath, signal }: AgentOptions,
): Promise<void> {
  const { dataDir, version } = ground;
  const { clock, random, log, lifecycle, record } = ground;
  const { trustDomain } = identity.identity.trust;
  const restart = Promise.withResolvers<void>();
  const keeper = await lifecycle.start(
    "keeper",
    () => connectKeeper(dataDir, { clock, random, log }, { role: "agent", revive: true }),
    (part) => part.close(),
  );

  // Desired state.
  const ledger = await startLedgerPath(ground, {
    identity,
    keeper,
    searchPath,
    restart: restart.resolve,
  });
  const state = await startStatePath(ground, identity, ledger.ledger);
  const { mirrored } = state;
  const isSoleServer = () => record.role === "server" && ledger.record() === undefined;
  if (record.role === "server")
    correctServerRoles(ground, { mirrored, upstream: state.upstream, isSoleServer });
  await foundCellAddress(ground, state, config);
  feedProxy(proxy, { mirrored, isKnown: state.isKnown, record, clock, log, signal });
  const sync = await startSyncPath(ground, { mirrored, trustDomain });
  const { budget } = sync;
  const documents = await startDocumentsPath(ground, { mirrored, trustDomain, budget });
  const queries = await startQueriesPath(ground, { mirrored, documents: documents.store });

  // Other machines.
  const opening = Promise.withResolvers<ServersPath>();
  const enrolment = openEnrolment(ground, {
    authority: identity.authority,
    ledger: ledger.ledger,
    // Who joins a moment before the servers' way is open waits for it.
    onJoined: async (node, token) => {
      if (token.server) await (await opening.promise).wish(wishOf(node), node.id);
    },
  });
  const { handler: enrolHandler } = enrolment;
  const renewal = await startRenewals(ground, { identity, enrolHandler, servers: state.servers });
  const links = await startLinkPath(ground, {
    mirrored,
    identity,
    enrolHandler,
    isSoleServer,
    hasMoved: state.hasMoved,
    // Of a join it is spent by now.
    pointer: identity.serverApi === undefined ? config.server : undefined,
    onPointerServed: () => strikeOut({ log }, dataDir, ["server"]),
    listeners: {
      onPeer(link) {
        sync.attachPeer(link);
        documents.attachPeer(link);
      },
      onHub(link) {
        sync.attachHub(link);
        documents.attachHub(link);
      },
    },
  });
  const audit = await startAuditPath(ground, { mirrored, links, trustDomain });
  const strain = await startHostStrain(ground);
  await startHistoryPath(ground, { state, identity, links, restart: restart.resolve });
  const ledgerSituation = await startLedgerWatch(ground, ledger);
  const timers = await startTimersPath(ground, { ledger, trustDomain });
  const hasQuorum = () => quorumAtServer(ledgerSituation()) === "held";
  const servers = await startServersPath(ground, {
    ...{ state, ledger, links, trustDomain, hasQuorum },
  });
  opening.resolve(servers);
  const { membership } = await startFailoverPath(ground, {
    state,
    identity,
    keeper,
    links,
    strain,
    ledgerSituation,
  });

  // What runs here, and who may ask for what.
  const sensor = await startSensorPath(ground, {
    append: measureAppends(ground, (batch, options) => sync.durability.append(batch, options)),
    mirrored,
    identity,
  });
  const runner = await startWorkloadPath(ground, {
    state,
    keeper,
    identity,
    gatewayUrl: `http://${record.host}:${record.ports.gateway}`,
    searchPath,
  });
  const backup = await startBackupPath(ground, { state, links, strain });
  const status = startStatusPath(ground, {
    backup: backup.report,
    state,
    links,
    sync,
    documents,
    membership,
    runner,
    keeper,
    strain,
    ledgerSituation,
    memberFailure: () => ledger.memberFailure(),
  });
  const { report } = status;
  const metrics = startMetricsPath(ground, {
    report,
    documentsBacklog: () => documents.hub.backlog(),
    membership,
    identity,
  });
  const coordination = await startCoordinationPath(ground, { state, links, identity });
  const strong = await startStrongPath(ground, { state, links, identity, mirrored });
  const cellGroups = await startCellGroupsPath(ground, {
    ...{ state, links, identity },
    store: sync.readable,
  });
  const gateway = await startGatewayPath(ground, {
    identity,
    state,
    coordination,
    streams: [queries, strong],
    routes: [
      documents.routes(strong),
      queries.routes(strong),
      ...[sensor, sync, cellGroups, audit, status].map(({ routes }) => routes),
    ],
  });
  const api = await startApiPath(ground, {
    state,
    identity,
    podLogs: podLogsOf(record, { runner, links }),
    verdicts: () => membership.verdicts(),
    hasQuorum,
    routes: [backup, servers, timers, metrics, enrolment]
      .flatMap(({ routes }) => routes)
      .map((route) => sayingQuorumLost(route, hasQuorum)),
  });

  // What the cell, the hub and the command line are told.
  await startAddressPath(ground, {
    state,
    membership,
    traffic: proxy.traffic,
    mqtt: sensor.listeners,
    api,
    identity: identity.identity,
    renewal,
  });
  const { meshPort: mesh, ingressPort: ingress } = proxy;
  const ports = { api: api.port, mesh, peers: links.port, ingress };
  await startWhereaboutsPath(ground, {
    whereabouts: state.whereabouts,
    links,
    trustDomain,
    place: { host: record.host, ports },
  });
  const events = await startNodeEvents(ground, { state });
  await startNodeReports(ground, { state, events, membership, ports });
  await startHubEnrolment(ground, {
    identity,
    resources: state.upstream,
    hubToken: config.hubToken,
    onEnrolled: async () => {
      strikeOut({ log }, dataDir, ["hubToken"]);
      await renewal.refreshTrust();
    },
    onOutcome: (failure) => links.hub.enrolment(failure),
  });
  await startHubHeartbeat(ground, { links, membership, report });
  await startStreamReports(ground, { state, sync });
  await startDamageEvents(ground, { events, sync });
  if (identity.authority) await writeAdminAccess(dataDir, identity.authority, api.address);
  const info: AgentInfo = {
    node: record.node,
    cell: record.cell,
    role: record.role,
    dataDir,
    version,
    agentPid: process.pid,
    process: ownProcess(),
    api: api.address,
    peers: links.address,
    gateway: gateway.url,
    ingress: `${record.host}:${ingress}`,
    mqtt: sensor.mqtt,
    ...(sensor.mqttPlain === undefined ? {} : { mqttPlain: sensor.mqttPlain }),
  };
  writeInfo(dataDir, "node", info);
  keepCompiled();
  log.info("agent is ready", { api: info.api, gateway: info.gateway, ingress: info.ingress });

  const lost = await Promise.race([
    whenAborted(signal),
    storageLost(ground.storage),
    restart.promise,
  ]);
  log.info("agent is stopping");
  await lifecycle.stop();
  // The keeper starts it again, with a thread that works.
  if (lost) throw lost;
}
