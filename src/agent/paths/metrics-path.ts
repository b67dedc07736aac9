/**
 * The way of a node's state to Prometheus: at each scrape what `skerry status` would say, and the time
 * that certificates have left. Rooms count what happens in them themselves; names in docs/metrics.md.
 */
import { formatDurabilityLevel, ladderRungs, type NodeReport } from "../../api/index.ts";
import type { Durability } from "../../data/index.ts";
import type { ApiAnswered, MountedRoute } from "../../apiserver/index.ts";
import type { Membership } from "../../membership/index.ts";
import type { Ground } from "../ground.ts";
import type { IdentityPath } from "./identity-path.ts";

const phases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

export function startMetricsPath(
  { metrics, version, nowMs, record }: Ground,
  deps: {
    report: () => Promise<NodeReport>;
    documentsBacklog: () => Promise<number>;
    membership: Membership;
    identity: IdentityPath;
  },
): { readonly routes: readonly MountedRoute[] } {
  const { identity } = deps.identity;
  metrics
    .gauge("skerry_build_info", "Always 1; the version that runs.", ["version", "role"])
    .set({ version, role: record.role }, 1);
  const rung = metrics.gauge(
    "skerry_ladder_rung",
    "1 for the rung of the degradation ladder that this node stands on, 0 for the others.",
    ["rung"],
  );
  const verdict = metrics.gauge(
    "skerry_node_verdict",
    "1 for what this node concludes of each other node: alive, agent-down, unreachable, link-down, unknown.",
    ["peer", "verdict"],
  );
  const silence = metrics.gauge(
    "skerry_node_silence_seconds",
    "How long the verdict on a node that is not alive has stood.",
    ["peer"],
  );
  const hubConnected = metrics.gauge(
    "skerry_hub_connected",
    "1 while this node reaches its hub, 0 while not; absent without a hub.",
  );
  const backlogEntries = metrics.gauge(
    "skerry_hub_backlog_entries",
    "Entries accepted here that may leave and that the hub has not acknowledged.",
  );
  const backlogBytes = metrics.gauge(
    "skerry_hub_backlog_bytes",
    "Bytes accepted here that may leave and that the hub has not acknowledged.",
  );
  const backlogAge = metrics.gauge(
    "skerry_hub_backlog_age_seconds",
    "Age of the oldest entry that waits for the hub.",
  );
  const backlogOperations = metrics.gauge(
    "skerry_hub_backlog_operations",
    "Operations of documents that the hub's copy furthest behind lacks; 0 while no collection leaves.",
  );
  const live = metrics.gauge(
    "skerry_desired_state_live",
    "1 while desired state comes from a server, 0 while from the mirror's last known.",
  );
  const age = metrics.gauge(
    "skerry_desired_state_age_seconds",
    "Time since a server was last heard; absent when none ever was.",
  );
  const entries = metrics.gauge("skerry_stream_entries", "Entries of a stream in this store.", [
    "stream",
  ]);
  const bytes = metrics.gauge("skerry_stream_bytes", "Bytes of a stream in this store.", [
    "stream",
  ]);
  const dropped = metrics.gauge(
    "skerry_stream_entries_dropped",
    "Entries of a stream that went before their time, since the store was made: on a full disk (when-full), before the hub had them (before-hub). One may be both.",
    ["stream", "why"],
  );
  const damaged = metrics.gauge(
    "skerry_stream_entries_damaged",
    "Sealed entries of a stream that this node's disk lost and that were not fetched again.",
    ["stream"],
  );
  const pods = metrics.gauge("skerry_pods", "Pods of this node by phase.", ["phase"]);
  const podsReady = metrics.gauge("skerry_pods_ready", "Pods of this node that are ready.");
  const restarts = metrics.gauge(
    "skerry_pod_restarts",
    "Restarts of a pod's containers since the pod was made.",
    ["namespace", "pod"],
  );
  const certificate = metrics.gauge(
    "skerry_certificate_expiry_seconds",
    "Time that the node's identity certificate is still valid, by the cell's time.",
  );

  metrics.beforeRender(async () => {
    const report = await deps.report();
    for (const one of ladderRungs) rung.set({ rung: one }, report.rung === one ? 1 : 0);
    // Nodes, streams and pods come and go: what is gone must not stand for ever.
    for (const gauge of [verdict, silence, entries, bytes, dropped, damaged, restarts])
      gauge.reset();
    for (const [peer, concluded] of deps.membership.verdicts()) {
      verdict.set({ peer, verdict: concluded.state }, 1);
      if ("forMs" in concluded) silence.set({ peer }, concluded.forMs / 1000);
    }
    if (report.hub.state !== "none") hubConnected.set(report.hub.state === "connected" ? 1 : 0);
    backlogEntries.set(report.hub.backlog.entries);
    backlogBytes.set(report.hub.backlog.bytes);
    backlogAge.set(report.hub.backlog.oldestMs / 1000);
    live.set(report.desiredState.live ? 1 : 0);
    if (report.desiredState.ageMs >= 0) age.set(report.desiredState.ageMs / 1000);
    backlogOperations.set(await deps.documentsBacklog());
    for (const stream of report.streams) {
      entries.set({ stream: stream.name }, stream.entries);
      bytes.set({ stream: stream.name }, stream.bytes);
      if (!stream.dropped) continue;
      dropped.set({ stream: stream.name, why: "when-full" }, stream.dropped.whenFull);
      dropped.set({ stream: stream.name, why: "before-hub" }, stream.dropped.beforeHub);
    }
    for (const { stream, entries: lost } of report.damaged ?? []) damaged.inc({ stream }, lost);
    for (const phase of phases)
      pods.set({ phase }, report.pods.filter((pod) => pod.phase === phase).length);
    podsReady.set(report.pods.filter(({ ready }) => ready).length);
    for (const pod of report.pods)
      restarts.set({ namespace: pod.namespace, pod: pod.name }, pod.restarts);
    certificate.set((identity.validUntilMs - nowMs()) / 1000);
  });
  const handle = async () => ({
    status: 200,
    contentType: metrics.contentType,
    body: await metrics.render(),
  });
  return { routes: [{ prefix: "/metrics", allows: () => true, handle }] };
}

/** `append` with its time by the level that was reached, from the batch in hand to the promise kept. */
export function measureAppends(
  { metrics, clock }: Pick<Ground, "metrics" | "clock">,
  append: Durability["append"],
): Durability["append"] {
  const seconds = metrics.histogram(
    "skerry_append_seconds",
    "Time until a batch of entries reached the level it is acknowledged at.",
    [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    ["reached"],
  );
  const failures = metrics.counter(
    "skerry_append_failures_total",
    "Batches that were not stored, or whose outcome is unknown, by why.",
    ["why"],
  );
  return async (batch, options) => {
    const startedMs = clock.monotonicMs();
    try {
      const outcome = await append(batch, options);
      if (outcome.state === "refused") failures.inc({ why: outcome.code });
      else {
        const reached = formatDurabilityLevel(outcome.reached);
        seconds.observe({ reached }, (clock.monotonicMs() - startedMs) / 1000);
      }
      return outcome;
    } catch (error) {
      failures.inc({ why: "unknown" });
      throw error;
    }
  };
}

/** Told of every request to the cell API; watches, which last, are counted apart. */
export function measureApi({ metrics }: Pick<Ground, "metrics">): ApiAnswered {
  const seconds = metrics.histogram(
    "skerry_api_request_seconds",
    "Time to answer a request to the cell API, by method and status; without watches.",
    [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    ["method", "status"],
  );
  const watches = metrics.counter(
    "skerry_api_watches_ended_total",
    "Watches of the cell API that ended, by status.",
    ["status"],
  );
  return ({ method, status, isWatch, tookMs }) => {
    if (isWatch) watches.inc({ status: String(status) });
    else seconds.observe({ method, status: String(status) }, tookMs / 1000);
  };
}

/** Told of each loss whose pods are replaced, in milliseconds from the verdict on. */
export function measureFailover({ metrics }: Pick<Ground, "metrics">) {
  const seconds = metrics.histogram(
    "skerry_failover_seconds",
    "From the verdict on a lost node until its pods' loss was decided, they were scheduled elsewhere, started, and routed to.",
    [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30],
    ["until"],
  );
  return (phases: {
    readonly decidedMs: number;
    readonly scheduledMs: number;
    readonly startedMs: number;
    readonly routedMs: number;
  }): void => {
    for (const [until, ms] of [
      ["decided", phases.decidedMs],
      ["scheduled", phases.scheduledMs],
      ["started", phases.startedMs],
      ["routed", phases.routedMs],
    ] as const)
      seconds.observe({ until }, ms / 1000);
  };
}
