/** Verdicts in words, the same ones in status, conditions, events and the console. Pure. */
import { formatDuration } from "../../lib/duration.ts";
import { ledgerEar, type NodeVerdict } from "./health.ts";

type Unreachable = Extract<NodeVerdict, { state: "unreachable" }>;

/**
 * What can be told of a silent node. Only the hub's word tells a dead machine from one that is cut off;
 * and a machine without any way out looks dead to everybody.
 */
export function tellUnreachable({ hub }: Pick<Unreachable, "hub">): string {
  if (hub === "hears") return "cut off from the cell, not dead: the hub hears it";
  if (hub === "misses") return "dead, or cut off from everybody: the hub misses it too";
  return "dead or cut off";
}

const shortly = { hears: "cut off", misses: "dead, it seems", silent: "dead or cut off" } as const;

/** A few words, for a table. */
export function tellVerdict(verdict: NodeVerdict): string {
  switch (verdict.state) {
    case "alive":
      return "alive";
    case "agent-down":
      return verdict.knownBy === "ledger"
        ? `agent and keeper down for ${formatDuration(verdict.forMs)}, machine alive`
        : `agent down for ${formatDuration(verdict.forMs)}, pods alive`;
    case "unreachable":
      return `unreachable for ${formatDuration(verdict.forMs)}: ${shortly[verdict.hub ?? "silent"]}`;
    case "link-down":
      return `no link for ${formatDuration(verdict.forMs)}, but ${tellEars(verdict.heardBy)}`;
    case "unknown":
      return "not heard yet";
    default:
      return verdict satisfies never;
  }
}

/** `n2, n3 hear it`, `its ledger member answers` */
export function tellEars(heardBy: readonly string[]): string {
  if (heardBy.includes(ledgerEar)) return "its ledger member answers";
  return `${heardBy.join(", ")} ${heardBy.length === 1 ? "hears" : "hear"} it`;
}
