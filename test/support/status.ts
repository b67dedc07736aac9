/** What a healthy node says of itself, with whatever a test wants otherwise. */
import type { NodeReport } from "../../src/api/index.ts";

export function nodeReport(node: string, more: Partial<NodeReport> = {}): NodeReport {
  return {
    node,
    role: "worker",
    version: "0.0.0",
    agentPid: 1,
    upMs: 1000,
    ladder: { hub: "connected", quorum: "held", peers: "all", resources: "enough" },
    rung: "whole",
    desiredState: { live: true, ageMs: 0 },
    hub: { state: "connected", backlog: { entries: 0, bytes: 0, oldestMs: 0 } },
    streams: [],
    pods: [],
    memoryBytes: 100_000_000,
    ...more,
  };
}
