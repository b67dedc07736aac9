/**
 * The way of a node's state to people: what it says of itself, gathered where it is known, asked by
 * peers over links, by the hub's heartbeat and by `/v1/status`.
 */
import {
  cellAddressKind,
  deploymentKind,
  endpointsOf,
  nodeKind,
  podKind,
  type BackupReport,
  type CellAddress,
  type CellStatus,
  type Deployment,
  type Node,
  type NodeReport,
  type StreamStatusLine,
} from "../../api/index.ts";
import type { StreamStatus } from "../../data/index.ts";
import type { Keeper } from "../../keeper/index.ts";
import { rungOf, withRows, type LedgerSituation, type Membership } from "../../membership/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { PodRunner } from "../../workloads/index.ts";
import { addressViews } from "../address-promise.ts";
import type { HostStrain } from "../host-strain.ts";
import { hubFailure } from "../hub-words.ts";
import { ledgerReport } from "../ledger-watch.ts";
import type { Ground } from "../ground.ts";
import { cellStatus, podLine } from "../status.ts";
import { statusDescription } from "../status-openapi.ts";
import type { StatePath } from "./command-path.ts";
import type { LinkPath } from "./link-path.ts";
import type { DocumentsPath } from "./documents-path.ts";
import type { SyncPath } from "./sync-path.ts";

export type StatusPath = { report(): Promise<NodeReport>; readonly routes: Routes };

const peerTimeoutMs = 1000;

export function startStatusPath(
  ground: Ground,
  deps: {
    /** Servers only. */
    backup: (() => BackupReport) | undefined;
    state: StatePath;
    links: LinkPath;
    sync: SyncPath;
    documents: Pick<DocumentsPath, "doubted">;
    membership: Membership;
    runner: PodRunner;
    keeper: Keeper;
    strain: Pick<HostStrain, "short">;
    ledgerSituation: () => LedgerSituation;
    /** Servers that share the ledger: why their own member does not run. */
    memberFailure: () => Error | undefined;
  },
): StatusPath {
  const { clock, record, router, version } = ground;
  const { state, links, sync, documents, membership, runner, keeper, strain } = deps;
  const startedMs = clock.monotonicMs();
  let deployments: readonly Deployment[] = [];
  let nodes: readonly Node[] = [];
  state.mirrored.follow(deploymentKind, (now: readonly Deployment[]) => (deployments = now));
  state.mirrored.follow(nodeKind, (now: readonly Node[]) => (nodes = now));
  let addresses: readonly CellAddress[] = [];
  state.mirrored.follow(cellAddressKind, (now: readonly CellAddress[]) => (addresses = now));

  const report = async (): Promise<NodeReport> => {
    const [store, processes] = await Promise.all([
      sync.store.status(),
      keeper.processes.list().catch(() => []),
    ]);
    const ladder = membership.ladder();
    const nowMs = clock.monotonicMs();
    const hubAgoMs = membership.hubAgoMs();
    const { lastContactMs } = state.mirror;
    const { usedUpForMs } = sync.budget.status();
    const doubted = [...new Set([...sync.doubted(), ...documents.doubted()])];
    const ledger = ledgerReport(
      deps.ledgerSituation(),
      nodes.map(({ metadata }) => metadata.name),
      nowMs,
    );
    return {
      node: record.node,
      role: record.role,
      version,
      agentPid: process.pid,
      upMs: Math.round(nowMs - startedMs),
      ladder,
      rung: rungOf(ladder),
      desiredState: {
        live:
          ladder.quorum === "held" && lastContactMs !== undefined && nowMs - lastContactMs < 20_000,
        ageMs: lastContactMs === undefined ? -1 : Math.round(nowMs - lastContactMs),
      },
      hub: {
        state: ladder.hub,
        ...(links.hub.address === undefined ? {} : { address: links.hub.address }),
        ...(hubAgoMs === undefined ? {} : { lastContactMs: hubAgoMs }),
        ...hubFailure(links.hub.failure),
        ...(usedUpForMs === undefined ? {} : { budgetUsedUpForMs: Math.round(usedUpForMs) }),
        backlog: {
          entries: store.backlog.entries,
          bytes: store.backlog.bytes,
          oldestMs: store.backlog.oldestAgeMs ?? 0,
        },
      },
      streams: store.streams.map(streamLine),
      ...(store.failure ? { storeFailure: store.failure } : {}),
      ...(store.damaged.length === 0
        ? {}
        : {
            damaged: store.damaged.map(({ stream, entries, message }) => ({
              stream,
              entries,
              message,
            })),
          }),
      ...(doubted.length === 0 ? {} : { doubted }),
      pods: runner
        .pods()
        .map(({ pod, status }) =>
          podLine(status ? { ...pod, status } : pod, pidsOf(pod.metadata.uid, processes)),
        ),
      short: strain.short,
      ...(deps.backup === undefined ? {} : { backup: deps.backup() }),
      memoryBytes: process.memoryUsage.rss(),
      ...(ledger === undefined ? {} : { ledger }),
      ...memberFailureLine(deps.memberFailure()),
    };
  };
  router.handle("node.status", async () => {
    const [reach] = membership.reach().rows;
    return new TextEncoder().encode(JSON.stringify({ ...(await report()), reach }));
  });

  const askPeer = async (node: string): Promise<NodeReport | undefined> => {
    const link = links.linkTo(node);
    if (!link) return undefined;
    try {
      const answer = await link.request("node.status", new Uint8Array(), {
        timeoutMs: peerTimeoutMs,
        priority: 0,
      });
      return JSON.parse(new TextDecoder().decode(answer)) as NodeReport;
    } catch (error) {
      // A peer that does not answer is shown as such; why is membership's to say.
      ground.log.debug("a peer did not tell its status", { node, error });
      return undefined;
    }
  };
  const status = async (): Promise<CellStatus> => {
    const names = [...new Set([record.node, ...nodes.map(({ metadata }) => metadata.name)])];
    const answers = await Promise.all(
      names.map((name) => (name === record.node ? report() : askPeer(name))),
    );
    const { items: pods } = await state.mirror.list(podKind);
    const rows = answers.flatMap((one) => (one?.reach === undefined ? [] : [one.reach]));
    // Stands in the matrix, and not twice.
    const reports = answers.map((one) => one && { ...one, reach: undefined });
    const verdicts = membership.verdicts();
    const silent = [...verdicts].filter(([, { state: verdict }]) => verdict === "unreachable");
    const decisions = silent.map(([name]) => [name, membership.mayEvict(name)] as const);
    return cellStatus({
      cell: record.cell,
      self: record.node,
      nodes: names.map((name) => {
        const node = nodes.find(({ metadata }) => metadata.name === name);
        return { name, endpoints: node && endpointsOf(node) };
      }),
      verdicts,
      ladder: membership.ladder(),
      held: new Map(
        decisions.flatMap(([name, decision]) =>
          record.role === "server" && !decision.allowed && decision.againMs === undefined
            ? [[name, decision.because] as const]
            : [],
        ),
      ),
      reports: new Map(reports.flatMap((one) => (one ? [[one.node, one]] : []))),
      deployments,
      pods,
      story: membership.story(),
      addresses: addressViews(addresses, nodes),
      reach: withRows(membership.reach(), rows),
    });
  };
  const described = { config: { openapi: statusDescription } };
  return { report, routes: (app) => void app.get("/v1/status", described, status) };
}

function streamLine(status: StreamStatus): StreamStatusLine {
  const { name, entries, bytes, droppedWhenFull: whenFull, droppedBeforeHub: beforeHub } = status;
  const dropped = whenFull + beforeHub > 0 ? { dropped: { whenFull, beforeHub } } : {};
  return { name, entries, bytes, ...dropped };
}

function pidsOf(
  uid: string | undefined,
  processes: Awaited<ReturnType<Keeper["processes"]["list"]>>,
): Record<string, number> {
  return Object.fromEntries(
    processes.flatMap(({ id, current }) => {
      const [podUid, container] = id.split("_");
      return podUid === uid && container !== undefined && current.state === "running"
        ? [[container, current.pid]]
        : [];
    }),
  );
}

function memberFailureLine(error: Error | undefined): Pick<NodeReport, "memberFailure"> {
  const { failure } = hubFailure(error);
  return failure === undefined ? {} : { memberFailure: failure };
}
