/** What the proxy thread counts, as metrics of this process. */
import type { Metrics } from "../runtime/metrics/index.ts";
import type { Counts, Levels } from "./engines/node/counts.ts";
import { latencyBounds, type Latencies } from "./engines/node/latency.ts";

/** By family of `CountName`; `label` names what stands after the colon. */
const counters = {
  requests: {
    name: "skerry_ingress_requests_total",
    help: "Requests that ended at this node's ingress, by the status it answered; cut: the answer broke off; client-gone: nobody waited for it any more.",
    label: "outcome",
  },
  refused: {
    name: "skerry_ingress_refused_total",
    help: "Requests or connections of clients that this ingress turned away, by why.",
    label: "reason",
  },
  "attempts-failed": {
    name: "skerry_ingress_attempts_failed_total",
    help: "Attempts at a pod that gave no answer; a request may have several. not-sent: nothing of it reached the pod.",
    label: "reason",
  },
  retries: {
    name: "skerry_ingress_retries_total",
    help: "Requests sent again, by what became of the attempt before.",
    label: "after",
  },
  "retries-denied": {
    name: "skerry_ingress_retries_denied_total",
    help: "Requests not sent again because the retry budget was spent.",
    label: undefined,
  },
  ejections: {
    name: "skerry_ingress_ejections_total",
    help: "Times that a pod's endpoint was left out because attempts at it failed.",
    label: undefined,
  },
  "nodes-silent": {
    name: "skerry_ingress_node_silences_total",
    help: "Times that a node was found silent and its pods left out.",
    label: undefined,
  },
  pings: {
    name: "skerry_ingress_pings_total",
    help: "Pings of other nodes' proxies on the mesh, by whether an answer came in time.",
    label: "outcome",
  },
  panics: {
    name: "skerry_ingress_panics_total",
    help: "Times that every endpoint left looked bad and one was tried nevertheless.",
    label: undefined,
  },
  upgrades: {
    name: "skerry_ingress_upgrades_total",
    help: "Connections that changed their protocol (WebSocket).",
    label: undefined,
  },
  "mesh-requests": {
    name: "skerry_mesh_requests_total",
    help: "Requests of other nodes for pods of this one, pings included.",
    label: undefined,
  },
  "mesh-refused": {
    name: "skerry_mesh_refused_total",
    help: "Connections and requests that this node's mesh turned away, by why.",
    label: "reason",
  },
} as const;

const levels: Readonly<Record<keyof Levels, { name: string; help: string }>> = {
  connections: {
    name: "skerry_ingress_connections",
    help: "Connections of clients that are open.",
  },
  underWay: {
    name: "skerry_ingress_requests_under_way",
    help: "Requests that have begun and not ended.",
  },
  silentNodes: {
    name: "skerry_ingress_silent_nodes",
    help: "Nodes whose proxy does not answer pings now.",
  },
  keptBytes: {
    name: "skerry_ingress_kept_body_bytes",
    help: "Bytes of request bodies kept so that they can be sent again.",
  },
};

export interface TrafficMetrics {
  add(counts: Counts): void;
  set(now: Levels): void;
  observe(latencies: Latencies): void;
}

export function createTrafficMetrics(metrics: Metrics): TrafficMetrics {
  const counterByFamily = new Map(
    Object.entries(counters).map(([family, { name, help, label }]) => {
      const counter = metrics.counter<string>(name, help, label ? [label] : []);
      return [family, { counter, label }];
    }),
  );
  const gaugeByLevel = Object.entries(levels).map(
    ([level, { name, help }]) => [level as keyof Levels, metrics.gauge(name, help)] as const,
  );
  const requestSeconds = metrics.histogram(
    "skerry_ingress_request_seconds",
    "From a request's headers to the end of its answer or refusal, by whether its method only reads, and by outcome.",
    [...latencyBounds],
    ["method", "outcome"],
  );
  return {
    add(counts) {
      for (const [name, number] of Object.entries(counts)) {
        const separator = name.indexOf(":");
        const known = counterByFamily.get(name.slice(0, separator));
        if (!known) continue;
        if (known.label) known.counter.inc({ [known.label]: name.slice(separator + 1) }, number);
        else known.counter.inc(number);
      }
    },
    set(now) {
      for (const [level, gauge] of gaugeByLevel) gauge.set(now[level]);
    },
    observe(latencies) {
      for (const [name, buckets] of Object.entries(latencies)) {
        const [method = "", outcome = ""] = name.split(":");
        const labels = { method, outcome };
        // A mean lies in its bucket: each observed as that keeps both the buckets and the sum.
        for (const { count, seconds } of Object.values(buckets))
          for (let i = 0; i < count; i++) requestSeconds.observe(labels, seconds / count);
      }
    },
  };
}
